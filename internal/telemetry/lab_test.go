package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// ttl is long: no lease must lapse because a machine is slow.
	ttl = 20 * time.Second
	// timeout bounds every wait of a test.
	timeout = 30 * time.Second
)

// plane is a plane of nodes over one in-memory store, wired as the daemon wires them.
type plane struct {
	t     *testing.T
	store *memstore.Server
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	return newPlaneOf(t, ttl)
}

// newPlaneOf is newPlane with a TTL.
func newPlaneOf(t *testing.T, ttl time.Duration) *plane {
	t.Helper()
	p := &plane{t: t, store: memstore.New(ttl)}
	t.Cleanup(p.store.Close)
	return p
}

// peer is a running node, its API and its metrics.
type runningNode struct {
	*telemetry.Telemetry
	node   *coordinator.Node
	t      *testing.T
	id     string
	url    string
	client *http.Client
}

// join starts a node and waits until it is in the given state.
func (p *plane) join(id string, mode modes.Mode, state modes.State) *runningNode {
	p.t.Helper()
	n := &runningNode{t: p.t, id: id, Telemetry: quiet(p.t)}
	listener := httptest.NewUnstartedServer(nil)
	n.url = "http://" + listener.Listener.Addr().String()
	log := zaptest.NewLogger(p.t, zaptest.Level(zap.InfoLevel))
	var err error
	n.node, err = coordinator.New(coordinator.Config{
		ID: id, Plane: "p", URI: n.url, Version: "1.0.0", Mode: mode, Observe: n.Transitions(), Logger: log,
	}, n.Store(p.store.Node(id)))
	if err != nil {
		p.t.Fatal(err)
	}
	api := httpapi.New(httpapi.Config{
		Node: n.Node(n.node), MaxPayload: 1 << 10, Metrics: n.Exposition(), Transport: n.Transport, Logger: log,
	})
	p.t.Cleanup(api.Close)
	listener.Config.Handler = n.Handler(api)
	listener.Start()
	p.t.Cleanup(listener.Close)
	transport := &http.Transport{}
	p.t.Cleanup(transport.CloseIdleConnections)
	n.client = &http.Client{Transport: transport, Timeout: timeout}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.node.Run(ctx); err != nil {
			p.t.Errorf("%s: %v", id, err)
		}
	})
	p.t.Cleanup(func() { p.store.Heal(id); cancel(); running.Wait() })
	eventually(p.t, func() error {
		if st := n.node.Status(); st.State != state || (state.Electable() && !st.InElection) {
			return fmt.Errorf("%s is %s, want %s", id, st.State, state)
		}
		return nil
	})
	return n
}

// eventually repeats check until it succeeds, and fails with its last error.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.After(timeout)
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
			t.Fatalf("not within %s: %v", timeout, err)
		}
	}
}

// do sends a request and checks the status.
func (n *runningNode) do(method, path, body string, status int) {
	n.t.Helper()
	req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		n.t.Fatal(err)
	}
	if resp.StatusCode != status {
		n.t.Fatalf("%s %s on %s: status = %d, want %d", method, path, n.id, resp.StatusCode, status)
	}
}

// families returns the node's current metrics by name.
func (n *runningNode) families() map[string]*dto.MetricFamily {
	n.t.Helper()
	all, err := n.Gatherer().Gather()
	if err != nil {
		n.t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// value returns the value of a metric, given without its prefix; for a histogram, the
// number of observations. Labels are given as alternating names and values.
func (n *runningNode) value(name string, labels ...string) (float64, error) {
	family, ok := n.families()["coordinator_"+name]
	if !ok {
		return 0, fmt.Errorf("%s has no metric %s", n.id, name)
	}
	for _, m := range family.GetMetric() {
		if !labelled(m, labels) {
			continue
		}
		switch {
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount()), nil
		case m.GetCounter() != nil:
			return m.GetCounter().GetValue(), nil
		default:
			return m.GetGauge().GetValue(), nil
		}
	}
	return 0, fmt.Errorf("%s has no metric %s with labels %v", n.id, name, labels)
}

// labelled reports whether a metric has all those labels.
func labelled(m *dto.Metric, labels []string) bool {
	found := 0
	for _, l := range m.GetLabel() {
		for i := 0; i < len(labels); i += 2 {
			if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
				found++
			}
		}
	}
	return found == len(labels)/2
}

// shows waits until a metric has a value.
func (n *runningNode) shows(want float64, name string, labels ...string) {
	n.t.Helper()
	eventually(n.t, func() error {
		got, err := n.value(name, labels...)
		if err == nil && got != want {
			err = fmt.Errorf("%s shows %s %v = %v, want %v", n.id, name, labels, got, want)
		}
		return err
	})
}
