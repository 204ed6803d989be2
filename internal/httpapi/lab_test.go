// This file has the planes, nodes and requests of the tests.

package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// ttl is long in real time, so that no lease lapses on a slow machine.
	ttl = 20 * time.Second
	// bubbleTTL is the TTL in virtual time, where waiting costs nothing.
	bubbleTTL = 6 * time.Second
	// waitLimit limits every wait of the tests.
	waitLimit = 30 * time.Second
	// maxPayload is the payload limit of these planes.
	maxPayload = 64 << 10
)

// plane is a plane of nodes with their APIs over one in-memory store. Outside a bubble the
// nodes listen on sockets and forward to each other over the network. In a bubble time is
// virtual, requests go to the handler directly, and nothing can be forwarded.
type plane struct {
	t      testing.TB
	store  *memstore.Server
	bubble bool
	wrap   func(driver.Store) driver.Store                  // wraps the store of each node; may be nil
	secure func(id string, cfg *httpapi.Config) *tls.Config // sets credentials; may be nil

	configure func(id string, cfg *httpapi.Config) // changes a node's API; may be nil
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, store: memstore.New(ttl)}
	t.Cleanup(p.store.Close)
	return p
}

// inBubble runs a test with a plane in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plane{t: t, store: memstore.New(bubbleTTL), bubble: true}
		t.Cleanup(p.store.Close)
		test(t, p)
	})
}

// peer is a running node and its API.
type peer struct {
	*coordinator.Node
	id     string
	url    string
	api    *httpapi.Server
	client *http.Client // nil in a bubble
	stop   func() error // ends the node, not its API; returns what Run returned
}

// start starts a node; change adjusts its configuration.
func (p *plane) start(id string, mode modes.Mode, change ...func(*coordinator.Config)) *peer {
	p.t.Helper()
	n := &peer{id: id, url: "http://" + id}
	api := httpapi.Config{MaxPayload: maxPayload, Names: []string{id}}
	var tlsConfig *tls.Config
	if p.secure != nil {
		tlsConfig = p.secure(id, &api)
	}
	var listener *httptest.Server
	if !p.bubble {
		listener = httptest.NewUnstartedServer(nil)
		n.url = "http://" + listener.Listener.Addr().String()
		if tlsConfig != nil {
			n.url = strings.Replace(n.url, "http://", "https://", 1)
		}
	}
	cfg := coordinator.Config{
		ID: id, Plane: "p", URI: n.url, Version: "1.0.0", Mode: mode, MaxPayload: maxPayload,
		Logger: zaptest.NewLogger(p.t, zaptest.Level(zap.InfoLevel)),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	var store driver.Store = p.store.Node(id)
	if p.wrap != nil {
		store = p.wrap(store)
	}
	if n.Node, err = coordinator.New(cfg, store); err != nil {
		p.t.Fatal(err)
	}
	api.Node, api.Logger, api.LogLevel = n.Node, cfg.Logger, zap.NewAtomicLevel()
	if p.configure != nil {
		p.configure(id, &api)
	}
	n.api = httpapi.New(api)
	p.t.Cleanup(n.api.Close)
	if listener != nil {
		listener.Config, listener.TLS = n.api.HTTPServer(), tlsConfig
		if tlsConfig == nil {
			listener.Start()
		} else {
			listener.StartTLS()
		}
		p.t.Cleanup(listener.Close)
		n.client = newClient(p.t)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = n.Run(ctx) })
	n.stop = sync.OnceValue(func() error { cancel(); running.Wait(); return ended })
	p.t.Cleanup(func() { p.store.Heal(id); _ = n.stop() })
	return n
}

// newClient returns a client that does not follow redirects: this API has none.
func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       waitLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// join starts a node and waits until it is in the given state.
func (p *plane) join(id string, mode modes.Mode, state modes.State, change ...func(*coordinator.Config)) *peer {
	p.t.Helper()
	n := p.start(id, mode, change...)
	n.await(p.t, state)
	return n
}

// lead starts a node that becomes the master of an empty plane.
func (p *plane) lead(id string, change ...func(*coordinator.Config)) *peer {
	p.t.Helper()
	return p.join(id, modes.Auto, modes.StateMaster, change...)
}

// await waits until the node is in a state, and is a candidate if that state allows it.
func (n *peer) await(t testing.TB, state modes.State) {
	t.Helper()
	eventually(t, func() error {
		st := n.Status()
		if st.State != state || (state.Electable() && !st.InElection) {
			return fmt.Errorf("%s is %s, in the election: %t; want %s", n.id, st.State, st.InElection, state)
		}
		return nil
	})
}

// sees waits until the node's own picture of the plane has that master and, if given, those
// candidates in this order.
func (n *peer) sees(t testing.TB, master string, candidates ...string) {
	t.Helper()
	eventually(t, func() error {
		p := n.CachedPlane()
		m, _ := p.Master()
		var ids []string
		for _, c := range policy.Candidates(p) {
			ids = append(ids, c.ID)
		}
		if m.ID != master || (candidates != nil && fmt.Sprint(ids) != fmt.Sprint(candidates)) {
			return fmt.Errorf("%s sees master %q and candidates %v, want %q and %v", n.id, m.ID, ids, master, candidates)
		}
		return nil
	})
}

// eventually calls check until it returns nil, and fails with its last error.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.After(waitLimit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %v", waitLimit, err)
		}
	}
}

// answer is the answer to one request.
type answer struct {
	t      testing.TB
	what   string // describes the request, for messages
	status int
	header http.Header
	body   []byte
}

// do sends one request and checks its answer against openapi.json. Headers are given as keys
// and values in turn.
func (n *peer) do(t testing.TB, method, target string, body []byte, header ...string) *answer {
	t.Helper()
	a, err := n.try(t, method, target, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// try is do for goroutines other than the test's own.
func (n *peer) try(t testing.TB, method, target string, body []byte, header ...string) (*answer, error) {
	req, err := http.NewRequest(method, n.url+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	a := &answer{t: t, what: fmt.Sprintf("%s %.120s on %s", method, target, n.id)}
	if err := n.exchange(req, a); err != nil {
		return nil, fmt.Errorf("%s: %w", a.what, err)
	}
	c, err := theContract()
	if err != nil {
		return nil, err
	}
	if err := c.check(req, body, a); err != nil {
		return nil, fmt.Errorf("%s: answer %d is not as documented: %w\n%.2000s", a.what, a.status, err, a.body)
	}
	return a, nil
}

func (n *peer) exchange(req *http.Request, a *answer) error {
	var resp *http.Response
	if n.client == nil {
		rec := httptest.NewRecorder()
		req.RemoteAddr = "127.0.0.1:1"
		n.api.ServeHTTP(rec, req)
		resp = rec.Result()
	} else {
		var err error
		if resp, err = n.client.Do(req); err != nil {
			return err
		}
	}
	defer resp.Body.Close()
	var err error
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(resp.Body)
	return err
}

// get reads a path.
func (n *peer) get(t testing.TB, target string) *answer {
	t.Helper()
	return n.do(t, http.MethodGet, target, nil)
}

// send sends a JSON body.
func (n *peer) send(t testing.TB, method, target, body string, header ...string) *answer {
	t.Helper()
	return n.do(t, method, target, []byte(body), append([]string{"Content-Type", "application/json"}, header...)...)
}

// put stores a memento.
func (n *peer) put(t testing.TB, name, payload string, header ...string) *answer {
	t.Helper()
	return n.do(t, http.MethodPut, at(name), []byte(payload), header...)
}

// del deletes a memento.
func (n *peer) del(t testing.TB, name string, header ...string) *answer {
	t.Helper()
	return n.do(t, http.MethodDelete, at(name), nil, header...)
}

// at returns the path of a memento.
func at(name string) string { return wire.PathMementos + "/" + name }

// want checks the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status = %d, want %d\n%.2000s", a.what, a.status, status, a.body)
	}
	return a
}

// refused checks that the answer is a problem of that status and kind.
func (a *answer) refused(status int, kind string) *answer {
	a.t.Helper()
	a.want(status)
	var p wire.Problem
	a.decode(&p)
	if p.Type != kind {
		a.t.Fatalf("%s: problem = %s, want %s\n%s", a.what, p.Type, kind, a.body)
	}
	return a
}

// has checks one header; an empty value means that it must be missing.
func (a *answer) has(key, value string) *answer {
	a.t.Helper()
	if got := a.header.Get(key); got != value {
		a.t.Errorf("%s: %s = %q, want %q", a.what, key, got, value)
	}
	return a
}

// holds checks the body byte for byte.
func (a *answer) holds(payload string) *answer {
	a.t.Helper()
	if string(a.body) != payload {
		a.t.Errorf("%s: body = %.200q, want %.200q", a.what, a.body, payload)
	}
	return a
}

// decode reads the JSON body.
func (a *answer) decode(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %v\n%.2000s", a.what, err, a.body)
	}
}

// revision returns the answer's Coordinator-Revision.
func (a *answer) revision() int64 {
	a.t.Helper()
	rev, err := strconv.ParseInt(a.header.Get(wire.HeaderRevision), 10, 64)
	if err != nil {
		a.t.Fatalf("%s: %s: %v", a.what, wire.HeaderRevision, err)
	}
	return rev
}

// inventory lists all mementos, to see that they have not changed.
func (n *peer) inventory(t testing.TB) []wire.Memento {
	t.Helper()
	var list wire.List
	n.get(t, wire.PathMementos).want(http.StatusOK).decode(&list)
	return list.Items
}
