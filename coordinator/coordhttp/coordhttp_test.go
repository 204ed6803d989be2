package coordhttp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordhttp"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout bounds every wait of a test.
const timeout = 30 * time.Second

// program is a node of a test and its API.
type program struct {
	t      *testing.T
	node   *coordinator.Node
	url    string
	client *http.Client
}

// start runs a node with its API, until the test ends.
func start(t *testing.T, store *memstore.Server, cfg coordinator.Config, o coordhttp.Options) *program {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, url: "http://" + l.Addr().String(), client: clientOf(t, nil)}
	if o.TLSCert != "" {
		p.url = "https://" + l.Addr().String()
	}
	if cfg.URI == "" {
		cfg.URI = p.url
	}
	cfg.Plane, cfg.Version, cfg.Logger = "p", "1.2.3", zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
	o.Logger = cfg.Logger
	var s driver.Store = store.Node(cfg.ID)
	if o.Metrics != nil {
		s = o.Metrics.Store(s)
	}
	if p.node, err = coordinator.New(cfg, s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := coordhttp.Run(ctx, p.node, l, o); err != nil {
			t.Errorf("%s: %v", cfg.ID, err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// clientOf returns a client that trusts a CA, nil for that of the system.
func clientOf(t *testing.T, roots *x509.CertPool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: timeout}
}

// do sends a request and returns the status and the body of the answer.
func (p *program) do(method, path, body string, header ...string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// want sends a request and checks the status; it returns the body.
func (p *program) want(status int, method, path, body string, header ...string) string {
	p.t.Helper()
	got, text := p.do(method, path, body, header...)
	if got != status {
		p.t.Fatalf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	return text
}

// await waits until the node is in a state.
func (p *program) await(state modes.State) {
	p.t.Helper()
	deadline := time.After(timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.node.State() != state {
		select {
		case <-tick.C:
		case <-deadline:
			p.t.Fatalf("%s is %s, want %s", p.node.ID(), p.node.State(), state)
		}
	}
}

func newStore(t *testing.T) *memstore.Server {
	store := memstore.New(20 * time.Second)
	t.Cleanup(store.Close)
	return store
}

// A program that embeds a node has the whole API: a standby forwards writes to the master, hands
// over, tells its health and its version, and the program's own pages are on the same port.
func TestRun_ServesTheAPI(t *testing.T) {
	store := newStore(t)
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the program's ", r.URL.Path) })
	a := start(t, store, coordinator.Config{ID: "a", Mode: modes.Auto, MaxPayload: 10}, coordhttp.Options{Fallback: own})
	a.await(modes.StateMaster)
	b := start(t, store, coordinator.Config{ID: "b", Mode: modes.Auto}, coordhttp.Options{})
	b.await(modes.StateHotStandby)

	a.want(http.StatusOK, http.MethodGet, "/role/master", "")
	b.want(http.StatusServiceUnavailable, http.MethodGet, "/role/master", "")
	b.want(http.StatusOK, http.MethodGet, "/readyz", "")
	if text := b.want(http.StatusOK, http.MethodGet, "/v1/node", ""); !strings.Contains(text, `"version":"1.2.3"`) {
		t.Errorf("the node does not name its version: %s", text)
	}
	b.want(http.StatusCreated, http.MethodPut, "/v1/mementos/note/1", `"hello"`, "Content-Type", "application/json")
	if text := a.want(http.StatusOK, http.MethodGet, "/v1/mementos/note/1", ""); text != `"hello"` {
		t.Errorf("the master has %s, want what was put through the standby", text)
	}
	b.want(http.StatusRequestEntityTooLarge, http.MethodPut, "/v1/mementos/note/2", `"longer than ten bytes"`, "Content-Type", "application/json")

	if text := a.want(http.StatusOK, http.MethodGet, "/hello", ""); text != "the program's /hello" {
		t.Errorf("GET /hello: %s, want the program's own answer", text)
	}
	a.want(http.StatusNotFound, http.MethodGet, "/v1/nothing", "")
	b.want(http.StatusNotFound, http.MethodGet, "/hello", "")

	b.want(http.StatusOK, http.MethodPost, "/v1/plane/handover", `{"to":"b"}`, "Content-Type", "application/json")
	b.await(modes.StateMaster)
}

// Run ends with the node, and not before its API has told of that: the node is TERMINATED.
func TestRun_EndsWithTheNode(t *testing.T) {
	store := newStore(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node, err := coordinator.New(coordinator.Config{ID: "a", Plane: "p", Mode: modes.Standby, WaitForMaster: time.Millisecond}, store.Node("a"))
	if err != nil {
		t.Fatal(err)
	}
	err = coordhttp.Run(t.Context(), node, l, coordhttp.Options{})
	if err == nil || !strings.Contains(err.Error(), "no master") {
		t.Errorf("Run = %v, want why the node cannot start", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is still open")
	}
	if err := coordhttp.ListenAndRun(t.Context(), node, "nowhere", coordhttp.Options{}); err == nil || !strings.Contains(err.Error(), "listen for the API") {
		t.Errorf("ListenAndRun = %v, want that it cannot listen", err)
	}
}

// Options that do not go together, and files that cannot be used, are reported before anything
// is served.
func TestNew_RefusesOptions(t *testing.T) {
	store := newStore(t)
	node, err := coordinator.New(coordinator.Config{ID: "a", Plane: "p", Mode: modes.Auto, URI: "http://127.0.0.1:7400"}, store.Node("a"))
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]coordhttp.Options{
		"give both":             {TLSKey: "x"},
		"give TLSCert":          {ClientCA: "x"},
		"set Config.URI":        {TLSCert: "x", TLSKey: "x"},
		"no such file":          {Tokens: filepath.Join(t.TempDir(), "none")},
		"cannot be used":        {PeerCA: filepath.Join(t.TempDir(), "none")},
		"TLSCert and TLSKey go": {TLSCert: "x", ClientCA: "y"},
	} {
		if _, err := coordhttp.New(node, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want %q", o, err, want)
		}
	}
}

// Tokens are read again when their file changes: a new one is accepted, a removed one is not.
func TestOptions_TokensMayChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(token string) {
		line := fmt.Sprintf("ops admin sha256:%x\n", sha256.Sum256([]byte(token)))
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	a := start(t, newStore(t), coordinator.Config{ID: "a", Mode: modes.Auto}, coordhttp.Options{Tokens: file})
	a.want(http.StatusUnauthorized, http.MethodGet, "/v1/node", "")
	a.want(http.StatusOK, http.MethodGet, "/livez", "")
	a.want(http.StatusOK, http.MethodGet, "/v1/node", "", "Authorization", "Bearer first")
	write("second")
	a.want(http.StatusUnauthorized, http.MethodGet, "/v1/node", "", "Authorization", "Bearer first")
	a.want(http.StatusOK, http.MethodGet, "/v1/node", "", "Authorization", "Bearer second")
}

// With certificates the API speaks TLS, asks callers for theirs, and what a node forwards carries
// its own.
func TestOptions_CertificatesAreForForwardingToo(t *testing.T) {
	dir := t.TempDir()
	ca, err := certtest.NewCA(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue(certtest.Pair{Name: "node"})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "ca.crt")
	text, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	store := newStore(t)
	o := coordhttp.Options{TLSCert: cert, TLSKey: key, ClientCA: root}
	a := start(t, store, coordinator.Config{ID: "a", Mode: modes.Auto}, o)
	a.await(modes.StateMaster)
	b := start(t, store, coordinator.Config{ID: "b", Mode: modes.Auto}, o)
	b.await(modes.StateHotStandby)
	b.client = clientOf(t, roots)
	b.want(http.StatusOK, http.MethodGet, "/livez", "")
	b.want(http.StatusForbidden, http.MethodGet, "/v1/node", "")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	b.client.CloseIdleConnections()
	b.client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
	b.want(http.StatusCreated, http.MethodPut, "/v1/mementos/note/1", `1`, "Content-Type", "application/json")
}

// Metrics tell of the node and the API always, and of the store, of states and of renewals where
// they are connected; nothing is exported that could only be 0.
func TestMetrics_AreThoseThatAreConnected(t *testing.T) {
	store := newStore(t)
	m := coordhttp.NewMetrics()
	cfg := coordinator.Config{ID: "a", Mode: modes.Auto, Observe: m.Transitions()}
	a := start(t, store, cfg, coordhttp.Options{Metrics: m})
	a.await(modes.StateMaster)
	a.want(http.StatusCreated, http.MethodPut, "/v1/mementos/note/1", `1`, "Content-Type", "application/json")
	b := start(t, store, coordinator.Config{ID: "b", Mode: modes.Auto}, coordhttp.Options{})
	b.await(modes.StateHotStandby)
	for _, c := range []struct {
		line string
		a, b bool
	}{
		{"coordinator_is_master 1\n", true, false},
		{"coordinator_is_master 0\n", false, true},
		{`coordinator_build_info{`, true, true},
		{`coordinator_http_requests_total{code="201",handler="/v1/mementos/{type}/{id}",method="PUT"} 1`, true, false},
		{"coordinator_persist_transaction_duration_seconds_count 1\n", true, false},
		{`coordinator_mirror_load_duration_seconds_count{result="ok"} 1`, true, false},
		{"coordinator_lease_ttl_seconds 20\n", true, false},
		{`coordinator_transitions_total{from="HOT_STANDBY",to="MASTER"} 1`, true, false},
		{"coordinator_lease_renew_failures_total", false, false},
		{"coordinator_etcd_request_duration_seconds", false, false},
	} {
		for p, want := range map[*program]bool{a: c.a, b: c.b} {
			text := p.want(http.StatusOK, http.MethodGet, "/metrics", "")
			if strings.Contains(text, c.line) != want {
				t.Errorf("metrics of %s have %q: %t, want %t", p.node.ID(), c.line, !want, want)
			}
		}
	}
	_ = m.DialOptions()
	m.Renewals()(time.Second, context.Canceled)
	own := httptest.NewRecorder()
	m.ServeHTTP(own, httptest.NewRequest(http.MethodGet, "/", nil))
	if !bytes.Contains(own.Body.Bytes(), []byte("coordinator_lease_renew_failures_total 1\n")) {
		t.Error("a renewal was not counted")
	}
}

// The level of the log can be changed if the program gives it, and not otherwise.
func TestOptions_LogLevel(t *testing.T) {
	store := newStore(t)
	level := zap.NewAtomicLevelAt(zap.WarnLevel)
	a := start(t, store, coordinator.Config{ID: "a", Mode: modes.Auto}, coordhttp.Options{LogLevel: level})
	a.want(http.StatusOK, http.MethodPut, "/v1/node/log-level", `{"level":"debug"}`, "Content-Type", "application/json")
	if level.Level() != zap.DebugLevel {
		t.Errorf("level = %s, want debug", level.Level())
	}
	b := start(t, store, coordinator.Config{ID: "b", Mode: modes.Auto}, coordhttp.Options{})
	b.want(http.StatusNotFound, http.MethodGet, "/v1/node/log-level", "")
	b.want(http.StatusNotFound, http.MethodPut, "/v1/node/log-level", `{"level":"debug"}`, "Content-Type", "application/json")
}
