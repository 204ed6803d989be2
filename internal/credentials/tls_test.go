package credentials_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/internal/credentials"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func authority(t *testing.T, name string) *certtest.CA {
	t.Helper()
	ca, err := certtest.NewCA(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *certtest.CA, p certtest.Pair) (cert, key string) {
	t.Helper()
	cert, key, err := ca.Issue(p)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// listen serves over TLS with the content of the files, and answers with the name in the
// client's certificate.
func listen(t *testing.T, cert, key, clientCA string) (url string, server *credentials.ServerTLS) {
	t.Helper()
	server, err := credentials.OpenServer(cert, key, clientCA, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) > 0 {
			fmt.Fprint(w, r.TLS.VerifiedChains[0][0].Subject.CommonName)
		}
	}))
	s.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	l := s.Listener
	s.Config.TLSConfig = server.Config()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Config.ServeTLS(l, "", "") }) // until it is closed
	t.Cleanup(func() { _ = s.Config.Close(); serving.Wait() })
	return "https://" + l.Addr().String(), server
}

// ask makes one request over a new connection.
func ask(t *testing.T, url, cert, key, ca string) (string, error) {
	t.Helper()
	c, err := credentials.OpenClient(cert, key, ca, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return get(url, c)
}

func get(url string, c *credentials.ClientTLS) (string, error) {
	transport := &http.Transport{DialTLSContext: c.DialTLS, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 1 {
		return "", fmt.Errorf("the protocol is %s", resp.Proto)
	}
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

var flags = credentials.Flags{CA: "--ca", Cert: "--cert"}

// says checks for an explanation of one line.
func says(t *testing.T, err error, want string) {
	t.Helper()
	why := credentials.Explain(err, flags)
	if !errors.Is(why, credentials.ErrTrust) || !strings.Contains(why.Error(), want) || strings.Contains(why.Error(), "\n") {
		t.Errorf("%v is explained as %v, want %q", err, why, want)
	}
}

func TestTLS_TrustIsExplained(t *testing.T) {
	ours, theirs := authority(t, "ours"), authority(t, "theirs")
	cert, key := issue(t, ours, certtest.Pair{Name: "node"})
	url, _ := listen(t, cert, key, ours.File())

	if name, err := ask(t, url, "", "", ours.File()); err != nil || name != "" {
		t.Errorf("without a certificate: %q, %v", name, err)
	}
	clientCert, clientKey := issue(t, ours, certtest.Pair{Name: "client", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if name, err := ask(t, url, clientCert, clientKey, ours.File()); err != nil || name != "client" {
		t.Errorf("with a certificate: %q, %v", name, err)
	}

	_, err := ask(t, url, "", "", "")
	says(t, err, `its certificate is signed by "CN=ours", which is not trusted here: name that CA with --ca`)
	_, err = ask(t, url, "", "", theirs.File())
	says(t, err, "which is not trusted here")
	_, err = ask(t, strings.Replace(url, "https://", "http://", 1), "", "", "")
	if err != nil {
		t.Errorf("over plain HTTP the server is to answer: %v", err)
	}

	for name, c := range map[string]struct {
		pair certtest.Pair
		says string
	}{
		"another host": {certtest.Pair{Name: "other", Hosts: []string{"node-a", "10.0.0.1"}}, "is for node-a, 10.0.0.1 and not for 127.0.0.1"},
		"no host":      {certtest.Pair{Name: "none", Hosts: []string{}}, "is for no host at all and not for 127.0.0.1"},
		"expired":      {certtest.Pair{Name: "old", NotAfter: time.Now().Add(-time.Minute)}, "its certificate expired at "},
		"no server":    {certtest.Pair{Name: "clients", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "its certificate is rejected"},
	} {
		cert, key := issue(t, ours, c.pair)
		url, _ := listen(t, cert, key, "")
		_, err := ask(t, url, "", "", ours.File())
		if err == nil {
			t.Errorf("%s: it is accepted", name)
		}
		says(t, err, c.says)
	}

	for name, pair := range map[string]struct {
		ca   *certtest.CA
		pair certtest.Pair
	}{
		"of another CA": {theirs, certtest.Pair{Name: "stranger"}},
		"expired":       {ours, certtest.Pair{Name: "old-client", NotAfter: time.Now().Add(-time.Minute)}},
		"a server's":    {ours, certtest.Pair{Name: "server-only", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
	} {
		cert, key := issue(t, pair.ca, pair.pair)
		_, err := ask(t, url, cert, key, ours.File())
		if err == nil {
			t.Errorf("a client's certificate %s is accepted", name)
		}
		says(t, err, "it rejects the client certificate")
	}

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err = ask(t, strings.Replace(plain.URL, "http://", "https://", 1), "", "", "")
	says(t, err, "it speaks plain HTTP and not TLS: write http:// for https://")
}

// Errors that are not about trust are not explained.
func TestExplain_LeavesTheRest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "https://" + l.Addr().String()
	l.Close()
	_, err = ask(t, gone, "", "", "")
	if err == nil || credentials.Explain(err, flags) != nil || credentials.Explain(nil, flags) != nil {
		t.Errorf("%v is explained as %v", err, credentials.Explain(err, flags))
	}
}

// A change of any file takes effect with the next connection, unless the file cannot be
// used.
func TestTLS_ReadAnewWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	ca, err := certtest.NewCA(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	next := authority(t, "next")
	cert, key := issue(t, ca, certtest.Pair{Name: "node"})
	url, server := listen(t, cert, key, ca.File())
	clientCert, clientKey := issue(t, ca, certtest.Pair{Name: "client"})
	client, err := credentials.OpenClient(clientCert, clientKey, ca.File(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	works := func(step string) {
		t.Helper()
		if name, err := get(url, client); err != nil || name != "client" {
			t.Errorf("%s: %q, %v", step, name, err)
		}
	}
	works("at first")
	first := server.Certificate().SerialNumber
	issue(t, ca, certtest.Pair{Name: "node"})
	works("the server's certificate renewed")
	if server.Certificate().SerialNumber.Cmp(first) == 0 {
		t.Error("the server presents its old certificate")
	}
	if err := os.WriteFile(cert, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	works("the server's certificate broken")
	issue(t, ca, certtest.Pair{Name: "node"})
	issue(t, ca, certtest.Pair{Name: "client"})
	works("both renewed")

	own, err := os.ReadFile(ca.File())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(next.File())
	if err != nil {
		t.Fatal(err)
	}
	write(t, ca.File(), string(own)+string(theirs))
	works("a second CA trusted")
	for _, name := range []string{"node", "client"} { // signed by the other CA, replacing the first certificate
		c, k := issue(t, next, certtest.Pair{Name: name})
		for from, to := range map[string]string{c: strings.Replace(cert, "node", name, 1), k: strings.Replace(key, "node", name, 1)} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			write(t, to, string(text))
		}
	}
	works("both certificates of the second CA")
	write(t, ca.File(), string(own))
	_, err = get(url, client)
	says(t, err, "which is not trusted here")
	write(t, ca.File(), string(theirs))
	works("the second CA alone")
}

func TestOpen_RefusesWhatIsNoPair(t *testing.T) {
	ca := authority(t, "ca")
	cert, key := issue(t, ca, certtest.Pair{Name: "node"})
	other, _ := issue(t, ca, certtest.Pair{Name: "other"})
	empty := cert + ".empty"
	write(t, empty, "")
	for name, open := range map[string]func() error{
		"another's key":  func() error { _, err := credentials.OpenServer(other, key, "", zap.NewNop()); return err },
		"no key":         func() error { _, err := credentials.OpenServer(cert, cert, "", zap.NewNop()); return err },
		"no such file":   func() error { _, err := credentials.OpenServer(cert, key+"x", "", zap.NewNop()); return err },
		"a CA of none":   func() error { _, err := credentials.OpenServer(cert, key, empty, zap.NewNop()); return err },
		"a key for a CA": func() error { _, err := credentials.OpenClient("", "", key, zap.NewNop()); return err },
		"a client's":     func() error { _, err := credentials.OpenClient(other, key, "", zap.NewNop()); return err },
	} {
		if err := open(); !errors.Is(err, credentials.ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServer_KnowsWhetherOthersTakeIt(t *testing.T) {
	ca := authority(t, "ca")
	for name, c := range map[string]struct {
		pair certtest.Pair
		ok   bool
	}{
		"both usages": {certtest.Pair{Name: "both"}, true},
		"server only": {certtest.Pair{Name: "server", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, false},
		"expired":     {certtest.Pair{Name: "old", NotAfter: time.Now().Add(-time.Minute)}, false},
	} {
		cert, key := issue(t, ca, c.pair)
		server, err := credentials.OpenServer(cert, key, ca.File(), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if err := server.CheckAsClient(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
