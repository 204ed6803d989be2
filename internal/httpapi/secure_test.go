// This file tests forwarding between nodes with certificates.

package httpapi_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// newCA makes a CA for this test.
func newCA(t *testing.T, name string) *certtest.CA {
	t.Helper()
	ca, err := certtest.NewCA(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// secured gives a node a certificate of CA own, from which it also requires client
// certificates, and makes it trust nodes of CA trusts.
func secured(t *testing.T, id string, cfg *httpapi.Config, own, trusts *certtest.CA) *tls.Config {
	t.Helper()
	cert, key, err := own.Issue(certtest.Pair{Name: id})
	if err != nil {
		t.Fatal(err)
	}
	server, err := credentials.OpenServer(cert, key, own.File(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Peers, err = credentials.OpenClient(cert, key, trusts.File(), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	cfg.Access.Certificates = true
	return server.Config()
}

// with returns the peer with a client that has a certificate of a CA, or none.
func (n *peer) with(t *testing.T, ca *certtest.CA, name string) *peer {
	t.Helper()
	var cert, key string
	if name != "" {
		var err error
		if cert, key, err = ca.Issue(certtest.Pair{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	shown, err := credentials.OpenClient(cert, key, ca.File(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	n.client = newClient(t)
	n.client.Transport.(*http.Transport).DialTLSContext = shown.DialTLS
	return n
}

// Promise: nodes forward to each other over TLS with client certificates.
func TestSecure_ForwardsOverTLS(t *testing.T) {
	ca := newCA(t, "ca")
	p := newPlane(t)
	p.secure = func(id string, cfg *httpapi.Config) *tls.Config { return secured(t, id, cfg, ca, ca) }
	a := p.lead("a").with(t, ca, "client")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby).with(t, ca, "client")
	b.sees(t, "a")
	b.put(t, "entity/x", "1").want(http.StatusCreated).has(wire.HeaderNode, "a")
	b.do(t, http.MethodPost, wire.PathImport, pack(t, nil, nil), "Content-Type", wire.Archive).want(http.StatusOK)
	s := b.subscribe(t, "")
	s.until(a.put(t, "entity/x", "2").want(http.StatusOK).revision())

	b.with(t, ca, "")
	b.put(t, "entity/x", "3").refused(http.StatusForbidden, wire.KindForbidden)
	b.get(t, at("entity/x")).refused(http.StatusForbidden, wire.KindForbidden)
	for _, open := range []string{wire.PathLive, wire.PathReady, wire.PathRole + "hot"} {
		b.get(t, open).want(http.StatusOK)
	}

	// A process that found b's record can ask whether b is still there, without credentials
	// that b knows.
	shown, err := credentials.OpenClient("", "", ca.File(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(b.url, client.Credentials{TLS: shown})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if node, instance, err := c.Identity(t.Context()); err != nil || node != "b" || instance != b.Status().Instance || instance == "" {
		t.Errorf("identity = %q %q, %v", node, instance, err)
	}
}

// Promise: a write is not sent to a node that is not trusted, and is refused at once with the
// reason.
func TestSecure_ForwardsToNobodyElse(t *testing.T) {
	ca, other := newCA(t, "ca"), newCA(t, "other")
	for name, c := range map[string]struct {
		secure func(id string, cfg *httpapi.Config) *tls.Config
		says   string
	}{
		"a master of a CA that is not trusted": {func(id string, cfg *httpapi.Config) *tls.Config {
			return secured(t, id, cfg, ca, map[string]*certtest.CA{"a": ca, "b": other}[id])
		}, `its certificate is signed by "CN=ca", which is not trusted here: name that CA with --tls-ca`},
		"a master that does not trust this node": {func(id string, cfg *httpapi.Config) *tls.Config {
			return secured(t, id, cfg, map[string]*certtest.CA{"a": other, "b": ca}[id], other)
		}, "it rejects the client certificate"},
		"a master without TLS": {func(id string, cfg *httpapi.Config) *tls.Config {
			if id == "a" {
				return nil
			}
			return secured(t, id, cfg, ca, ca)
		}, "a request that came over TLS is not forwarded without TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.secure = c.secure
			p.lead("a")
			b := p.join("b", modes.HotStandby, modes.StateHotStandby).with(t, ca, "client")
			b.sees(t, "a")
			began := time.Now()
			refused := b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster)
			if !strings.Contains(string(refused.body), strings.ReplaceAll(c.says, `"`, `\"`)) {
				t.Errorf("it says %s, want %s", refused.body, c.says)
			}
			if took := time.Since(began); took > httpapi.MasterTimeout {
				t.Errorf("it took %s", took)
			}
			b.get(t, at("entity/x")).want(http.StatusNotFound)
		})
	}
}
