package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/internal/credentials"
)

// fortress is a plane whose nodes show certificates and ask for certificates and tokens.
type fortress struct {
	*cluster
	dir  string
	ca   *certtest.CA
	args []string // of an operator's command
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{cluster: newCluster(t, 3*time.Second), dir: t.TempDir()}
	var err error
	if f.ca, err = certtest.NewCA(f.dir, "ca"); err != nil {
		t.Fatal(err)
	}
	f.issue("operator")
	f.args = []string{
		"--cacert", f.ca.File(), "--cert", f.file("operator.crt"), "--key", f.file("operator.key"),
		"--token-file", f.file("operator.token"),
	}
	f.tokens("operator")
	return f
}

func (f *fortress) file(name string) string { return filepath.Join(f.dir, name) }

func (f *fortress) issue(name string) {
	f.t.Helper()
	if _, _, err := f.ca.Issue(certtest.Pair{Name: name}); err != nil {
		f.t.Fatal(err)
	}
}

// tokens has the nodes take new tokens of those names, each that of an operator, and
// no others.
func (f *fortress) tokens(names ...string) {
	f.t.Helper()
	text := ""
	for _, name := range names {
		token, line, err := credentials.NewToken(name, credentials.Operator)
		if err != nil {
			f.t.Fatal(err)
		}
		text += line + "\n"
		if err := os.WriteFile(f.file(name+".token"), []byte(token), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := os.WriteFile(f.file("tokens"), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// node starts a node with a certificate of its own.
func (f *fortress) node(id, mode string, args ...string) *process {
	f.t.Helper()
	f.issue(id)
	return f.cluster.node(id, mode, append(f.secure(id), args...)...)
}

func (f *fortress) secure(id string) []string {
	return []string{
		"--tls-cert", f.file(id + ".crt"), "--tls-key", f.file(id + ".key"), "--tls-client-ca", f.ca.File(),
		"--auth-token-file", f.file("tokens"),
	}
}

// asks runs an operator's command against a node.
func (f *fortress) asks(p *process, args ...string) (code int, stdout, stderr string) {
	f.t.Helper()
	return command(f.t, append(append(args, "--server", p.url), f.args...)...)
}

// must is asks for what is to succeed.
func (f *fortress) must(p *process, args ...string) string {
	f.t.Helper()
	code, stdout, stderr := f.asks(p, args...)
	if code != 0 {
		f.t.Fatalf("%v on %s: exit code %d: %s", args, p.name, code, stderr)
	}
	return stdout
}

func (f *fortress) await(p *process, role string) {
	f.t.Helper()
	eventually(f.t, maxWait, func() error {
		if code, _, stderr := f.asks(p, "health", role); code != 0 {
			return fmt.Errorf("%s: %s", p.name, stderr)
		}
		return nil
	})
}

// serial is that of the certificate that a node shows.
func (f *fortress) serial(p *process) string {
	f.t.Helper()
	text, err := os.ReadFile(f.ca.File())
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: roots})
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// pair starts a master and a hot standby.
func (f *fortress) pair() (a, b *process) {
	f.t.Helper()
	a = f.node("a", "auto")
	f.await(a, "writable")
	b = f.node("b", "hot_standby")
	f.await(b, "promotable")
	return a, b
}

// Promise: a plane whose nodes ask for certificates and tokens works as any other, and
// whoever asks for a node's health needs neither.
func TestSecure_PlaneWithCertificatesAndTokens(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	a, b := f.pair()
	if !strings.HasPrefix(a.url, "https://127.0.0.1:") {
		t.Errorf("a advertises %s", a.url)
	}
	f.must(b, "memento", "put", "entity/x", f.file("operator.crt")) // forwarded
	f.must(b, "memento", "get", "entity/x")
	f.must(a, "doctor")

	anybody := &http.Client{Timeout: maxWait, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer anybody.CloseIdleConnections()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/role/hot": 200, "/role/master": 503, "/v1/node": 403, "/v1/plane": 403} {
		resp, err := anybody.Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s without credentials: %d, want %d", path, resp.StatusCode, want)
		}
	}

	// Another process of the same id finds out that b is there, though b tells it
	// nothing else.
	twin := f.spawnNode("b", "hot_standby", append(f.secure("b"), "--data-dir", t.TempDir())...)
	f.nodes["b"] = b
	if code := twin.exit(maxWait); code != 3 || !strings.Contains(twin.output(), b.url) {
		t.Errorf("the twin of b ends with %d, want 3, and names %s:\n%s", code, b.url, twin.output())
	}

	// Who never says hello is not waited for.
	mute, err := net.Dial("tcp", strings.TrimPrefix(a.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_ = mute.SetReadDeadline(time.Now().Add(5*time.Second + slack))
	if _, err := mute.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a client that does not begin TLS: %v", err)
	}
	f.must(a, "handover", "--to", "b")
	f.must(a, "memento", "put", "entity/y", f.file("operator.crt")) // the other way
	f.judge()
}

// Promise: what is renewed or revoked counts at once, without a restart, and changes
// nothing else.
func TestSecure_RenewedAndRevokedWithoutRestart(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	a, b := f.pair()
	status := f.must(b, "status", "-o", "json")
	shown := f.serial(a)
	f.issue("a")
	f.issue("b")
	if now := f.serial(a); now == shown {
		t.Error("a shows the certificate it was started with")
	}
	f.must(b, "memento", "put", "entity/x", f.file("operator.crt")) // forwarded

	old, err := os.ReadFile(f.file("operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	f.tokens("operator")
	f.must(b, "memento", "put", "entity/y", f.file("operator.crt"))
	if err := os.WriteFile(f.file("operator.token"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := f.asks(b, "memento", "put", "entity/z", f.file("operator.crt")); code != 2 || !strings.Contains(stderr, "does not know the token") {
		t.Errorf("with a token that was replaced: exit code %d, %s", code, stderr)
	}
	f.tokens("operator")
	if now := f.must(b, "status", "-o", "json"); term(t, now) != term(t, status) {
		t.Errorf("all of this changed the master: %s then %s", status, now)
	}
}

// term is that of a status in JSON.
func term(t *testing.T, status string) int64 {
	t.Helper()
	var v struct{ Term int64 }
	if err := json.Unmarshal([]byte(status), &v); err != nil {
		t.Fatal(err)
	}
	return v.Term
}
