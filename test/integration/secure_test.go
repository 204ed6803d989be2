package integration_test

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/etcdauth"
	"github.com/coordinator-ha/coordinator/internal/certtest"
)

// secured is a cluster whose etcd wants TLS, and client certificates by which it
// knows its users where its auth is enabled.
type secured struct {
	*cluster
	ca      *certtest.CA
	trusted string  // the file of authorities that nodes read
	server  keyPair // etcd's own
	metrics string
	root    []string // flags of a command that acts as root
}

// newSecured starts the etcd of a test.
func newSecured(t *testing.T, ttl time.Duration, etcdArgs ...string) *secured {
	t.Helper()
	s := &secured{
		cluster: &cluster{
			t: t, etcdDir: t.TempDir(), scheme: "https", endpoint: freeAddress(t), plane: "p",
			ttl: ttl, nodes: make(map[string]*process),
		},
		ca: newAuthority(t, "authority"), metrics: "http://" + freeAddress(t),
		trusted: filepath.Join(t.TempDir(), "trusted.pem"),
	}
	s.trust(s.ca)
	s.server = issue(t, s.ca, "etcd", soon(), "127.0.0.1")
	s.etcdArgs = append([]string{
		"--cert-file", s.server.Cert, "--key-file", s.server.Key, "--trusted-ca-file", s.ca.File(), "--client-cert-auth",
		"--bcrypt-cost", "4", "--listen-metrics-urls", s.metrics,
	}, etcdArgs...)
	s.nodeArgs = []string{"--etcd-cacert", s.trusted}
	s.startEtcd()
	s.raw = s.client("root")
	s.root = append([]string{"--endpoints", s.etcdURL(), "--etcd-cacert", s.ca.File()}, as(issue(t, s.ca, "root", soon()))...)
	return s
}

// soon is when certificates expire that do not in a test.
func soon() time.Time { return time.Now().Add(time.Hour) }

// keyPair is a certificate and its key.
type keyPair struct{ Cert, Key string }

func newAuthority(t *testing.T, name string) *certtest.CA {
	t.Helper()
	ca, err := certtest.NewCA(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// issue makes a certificate for a server at some hosts, or for a client of some name,
// until its end.
func issue(t *testing.T, ca *certtest.CA, name string, until time.Time, hosts ...string) keyPair {
	t.Helper()
	p := keyPair{Cert: filepath.Join(t.TempDir(), fileOf(name)+".crt")}
	p.Key = strings.TrimSuffix(p.Cert, ".crt") + ".key"
	renew(t, ca, p, name, until, hosts...)
	return p
}

// renew puts another certificate of the same name, with another key, in the place of one.
// As with most that renew certificates, there is a moment at which the two do not match.
func renew(t *testing.T, ca *certtest.CA, p keyPair, name string, until time.Time, hosts ...string) {
	t.Helper()
	made := certtest.Pair{Dir: filepath.Dir(p.Cert), Name: fileOf(name), Subject: name, NotAfter: until, Hosts: append([]string{}, hosts...)}
	if _, _, err := ca.Issue(made); err != nil {
		t.Fatal(err)
	}
}

// fileOf makes a name one that a file can have.
func fileOf(name string) string { return strings.ReplaceAll(name, "/", "-") }

// userOf is the user that a node of these tests' plane is for etcd.
func userOf(node string) string { return etcdauth.UserName("/coordinator", "p", node) }

// as are the flags that show a certificate.
func as(p keyPair) []string { return []string{"--etcd-cert", p.Cert, "--etcd-key", p.Key} }

// login are the flags of a user and his password, which lies in a file.
func login(t *testing.T, user, password string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	replace(t, file, password)
	return []string{"--etcd-user", user, "--etcd-password-file", file}
}

// replace puts other text into a file, whole.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// trust has nodes trust these authorities from now on.
func (s *secured) trust(of ...*certtest.CA) {
	s.t.Helper()
	var all strings.Builder
	for _, a := range of {
		text, err := os.ReadFile(a.File())
		if err != nil {
			s.t.Fatal(err)
		}
		all.Write(text)
	}
	replace(s.t, s.trusted, all.String())
}

// client is a client of etcd as the user of a certificate.
func (s *secured) client(user string) *clientv3.Client {
	s.t.Helper()
	p := issue(s.t, s.ca, user, soon())
	cfg, err := etcdstore.TLSFiles(s.trusted, p.Cert, p.Key)()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.etcdURL()}, TLS: cfg})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// guard makes a role and a user for each node, as ID=MODE, who all have the same
// password, and has etcd refuse everybody else.
func (s *secured) guard(password string, nodes ...string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "password")
	replace(s.t, file, password)
	args := append([]string{"auth", "bootstrap", "--apply", "--plane", s.plane, "--new-password-file", file}, s.root...)
	for _, n := range nodes {
		args = append(args, "--node", n)
	}
	if code, out, errOut := command(s.t, args...); code != 0 || !strings.Contains(out, "auth is not enabled") {
		s.t.Fatalf("auth bootstrap exits %d\n%s%s", code, out, errOut)
	}
	ctx := s.t.Context()
	for _, err := range []error{
		second(s.raw.UserAddWithOptions(ctx, "root", "", &clientv3.UserAddOptions{NoPassword: true})),
		second(s.raw.UserGrantRole(ctx, "root", "root")),
		second(s.raw.AuthEnable(ctx)),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// logins counts the passwords that etcd was asked to look at.
func (s *secured) logins() int {
	s.t.Helper()
	resp, err := httpClient.Get(s.metrics + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	total := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(name, "grpc_server_started_total{") && strings.Contains(name, `"Authenticate"`) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			total += n
		}
	}
	return int(total)
}

// Promise: wrong credentials are told at start, at once, each in words of its own,
// with exit code 2. "At once" is long before the time that a store may take.
func TestSecure_WhatIsWrongIsToldAtStart(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 6*time.Second)
	s.guard("right", "a=auto", "c=hot_backup")
	if _, err := s.raw.UserAddWithOptions(t.Context(), "roleless", "", &clientv3.UserAddOptions{NoPassword: true}); err != nil {
		t.Fatal(err)
	}
	other, past := newAuthority(t, "another authority"), time.Now().Add(-time.Minute)
	a := as(issue(t, s.ca, userOf("a"), soon()))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	foreign := httptest.NewUnstartedServer(http.NotFoundHandler())
	pair := issue(t, s.ca, "etcd", past, "127.0.0.1")
	expired, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	foreign.TLS = &tls.Config{Certificates: []tls.Certificate{expired}}
	foreign.EnableHTTP2 = true // as etcd
	foreign.StartTLS()
	t.Cleanup(foreign.Close)
	localhost := strings.Replace(s.etcdURL(), "127.0.0.1", "localhost", 1)
	with := func(more ...string) []string { return slices.Concat(a, more) }
	for name, c := range map[string]struct {
		endpoint string // etcd's, if empty
		args     []string
		says     string
	}{
		"wrong CA":                    {"", with("--etcd-cacert", other.File()), "which is not trusted here: name that CA with Config.TLS (--etcd-cacert)"},
		"wrong host name":             {localhost, a, "and not for localhost"},
		"expired certificate of etcd": {foreign.URL, a, "etcd's certificate expired at"},
		"TLS where there is none":     {strings.Replace(plain.URL, "http:", "https:", 1), a, "speaks plain HTTP and not TLS: write http:// for https://"},
		"no TLS where there is some":  {"http://" + s.endpoint, nil, "write endpoints with https://"},
		"TLS given and not used":      {"http://" + s.endpoint, a, "TLS is configured"},
		"no certificate":              {"", nil, "etcd rejects the client certificate"},
		"expired certificate":         {"", as(issue(t, s.ca, userOf("a"), past)), "expired certificate"},
		"certificate of another CA":   {"", as(issue(t, other, userOf("a"), soon())), "issued by CN=another authority"},
		"key of another certificate":  {"", []string{"--etcd-cert", a[1], "--etcd-key", s.server.Key}, "does not match"},
		"file that is not there":      {"", with("--etcd-cacert", "nowhere.pem"), "nowhere.pem"},
		"wrong password":              {"", with(login(t, userOf("a"), "wrong")...), `log in to etcd as user "a@coordinator/p"`},
		"unknown user":                {"", with(login(t, "nobody", "right")...), `log in to etcd as user "nobody"`},
		"password of who has none":    {"", with(login(t, "roleless", "right")...), "only a client certificate"},
		"empty password":              {"", with(login(t, userOf("a"), "")...), "is empty"},
		"certificate of no user":      {"", as(issue(t, s.ca, "stranger", soon())), `it has no user "stranger"`},
		"no role":                     {"", as(issue(t, s.ca, "roleless", soon())), `the user is "roleless"`},
		"role of another mode":        {"", as(issue(t, s.ca, userOf("c"), soon())), "hot_backup:c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := append([]string{
				"run", "--node-id", "a", "--plane", s.plane, "--endpoints", cmp.Or(c.endpoint, s.etcdURL()),
				"--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--store-timeout", "5m",
			}, c.args...)
			if name != "no TLS where there is some" {
				all = append([]string{"run", "--etcd-cacert", s.ca.File()}, all[1:]...)
			}
			p := spawn(t, "a", coordinatorBin, all...)
			if code := p.exit(maxWait); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			if !strings.Contains(p.output(), "Error: ") || !strings.Contains(p.output(), c.says) {
				t.Errorf("it does not say %q", c.says)
			}
		})
	}
}

// Promise: what is renewed is taken up without a restart: a client certificate that
// has expired, the authority of etcd's own, a password.
func TestSecure_RenewedFilesAreTakenUp(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 3*time.Second)
	s.guard("first", "a=auto", "b=hot_standby")
	until := time.Now().Add(8 * time.Second)
	pair := issue(t, s.ca, userOf("a"), until)
	a := s.node("a", "auto", as(pair)...)
	a.await("MASTER")
	b := issue(t, s.ca, "whoever", soon())
	file := filepath.Join(t.TempDir(), "password")
	replace(t, file, "first")
	s.node("b", "hot_standby", append(as(b), "--etcd-user", userOf("b"), "--etcd-password-file", file)...).await("HOT_STANDBY")
	a.mustPut("entity/x", "1")

	// etcd comes back with a certificate of another authority, and a's own has expired.
	next := newAuthority(t, "next authority")
	<-time.After(time.Until(until))
	s.etcd.kill()
	renew(t, next, s.server, "etcd", soon(), "127.0.0.1")
	s.startEtcd()
	for _, p := range s.nodes {
		p.says("which is not trusted here: name that CA with Config.TLS (--etcd-cacert)")
		eventually(t, maxWait, func() error {
			if v, err := p.plane(); err != nil || !strings.Contains(v.StoreError, "store denies access") {
				return fmt.Errorf("%s does not say in its status what is wrong: %+v, %w", p.name, v, err)
			}
			return nil
		})
	}
	s.trust(s.ca, next)
	s.raw = s.client("root") // the one before trusts the first authority alone
	a.says("expired certificate")
	s.nodes["b"].await("MASTER")
	renew(t, s.ca, pair, userOf("a"), soon())
	a.await("HOT_STANDBY")

	before := strings.Count(s.nodes["b"].output(), "login refused by etcd")
	if _, err := s.raw.UserChangePassword(t.Context(), userOf("b"), "second"); err != nil {
		t.Fatal(err)
	}
	eventually(t, maxWait, func() error {
		if strings.Count(s.nodes["b"].output(), "login refused by etcd") == before {
			return errors.New("b goes on with a password that was changed")
		}
		return nil
	})
	replace(t, file, "second")
	s.led()
	s.holdsOnly(map[string]string{"entity/x": "1"})
}
