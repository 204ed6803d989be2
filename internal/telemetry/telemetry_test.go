package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func TestMetrics_AreWellFormed(t *testing.T) {
	a := newPlane(t).join("a", modes.Auto, modes.StateMaster)
	a.do(http.MethodPut, "/v1/mementos/t/x", "1", http.StatusCreated)
	problems, err := testutil.GatherAndLint(a.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every histogram has classic and native buckets, every label value is from a small set,
// and every metric has a help text.
func TestMetrics_TellNothingThatGrows(t *testing.T) {
	p := newPlane(t)
	a := p.join("a", modes.Auto, modes.StateMaster)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	for i := range 30 {
		name := fmt.Sprintf("/v1/mementos/t%d/x%d", i, i)
		b.do(http.MethodPut, name, "1", http.StatusCreated)
		b.do(http.MethodGet, name, "", http.StatusOK)
		b.do(fmt.Sprintf("M%d", i), name, "", http.StatusMethodNotAllowed)
		b.do(http.MethodGet, fmt.Sprintf("/nowhere/%d", i), "", http.StatusNotFound)
	}
	for _, n := range []*runningNode{a, b} {
		for name, family := range n.families() {
			if !strings.HasPrefix(name, "coordinator_") {
				continue
			}
			if got := len(family.GetMetric()); got > 30 {
				t.Errorf("%s has %d series", name, got)
			}
			for _, m := range family.GetMetric() {
				if h := m.GetHistogram(); h != nil && (h.Schema == nil || len(h.GetBucket()) == 0) {
					t.Errorf("histogram %s lacks one of the two forms", name)
				}
			}
		}
	}
}

func TestMetrics_TellWhatANodeIs(t *testing.T) {
	p := newPlane(t)
	a := p.join("a", modes.Auto, modes.StateMaster)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	a.do(http.MethodPut, "/v1/mementos/t/x", "12345", http.StatusCreated)

	a.shows(1, "node_info", "plane", "p", "node", "a", "mode", "auto")
	a.shows(1, "build_info", "version", "1.0.0")
	a.shows(1, "is_master")
	a.shows(1, "state", "state", "MASTER")
	a.shows(0, "state", "state", "HOT_STANDBY")
	a.shows(1, "candidates")
	a.shows(2, "live_nodes")
	a.shows(float64(a.node.Status().Term), "term")
	a.shows(1, "mementos")
	a.shows(8, "mementos_bytes") // t/x and 12345
	a.shows(0, "mirror_lag_seconds")
	a.shows(ttl.Seconds(), "lease_ttl_seconds")
	a.shows(1, "etcd_connected")

	b.shows(0, "is_master")
	b.shows(0, "no_master")
	b.shows(1, "state", "state", "HOT_STANDBY")
	b.shows(1, "mementos")
	a.do(http.MethodPost, "/v1/plane/pause", "{}", http.StatusOK)
	b.shows(1, "paused")
	a.do(http.MethodPost, "/v1/plane/resume", "{}", http.StatusOK)
	b.shows(0, "paused")
	p.store.Put("t/bad", rebind.Content{}, "not readable")
	b.shows(1, "mementos_quarantined")

	p.store.Fill(true)
	a.do(http.MethodPut, "/v1/mementos/t/y", "1", http.StatusInsufficientStorage)
	a.shows(1, "store_full")
	b.shows(0, "store_full")
	p.store.Fill(false)
	a.do(http.MethodPut, "/v1/mementos/t/y", "1", http.StatusCreated)
	a.shows(0, "store_full")
}

func TestMetrics_CountWrites(t *testing.T) {
	p := newPlane(t)
	a := p.join("a", modes.Auto, modes.StateMaster)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)

	b.do(http.MethodPut, "/v1/mementos/t/x", "1", http.StatusCreated)
	b.do(http.MethodGet, "/v1/mementos/t/x", "", http.StatusOK)
	a.do(http.MethodDelete, "/v1/mementos/t/none", "", http.StatusNotFound)
	a.shows(1, "persist_duration_seconds")
	a.shows(1, "persist_failures_total", "reason", "conflict")
	a.shows(0, "persist_queue_length")
	b.shows(0, "persist_duration_seconds")
	b.shows(1, "http_forwarded_total", "result", "answered")
	b.shows(1, "read_staleness_seconds")
	const handler = "/v1/mementos/{type}/{id}"
	a.shows(1, "http_requests_total", "handler", handler, "method", "PUT", "code", "201")
	b.shows(1, "http_requests_total", "handler", handler, "method", "PUT", "code", "201")
	b.shows(1, "http_request_duration_seconds", "handler", handler, "method", "GET")
	a.shows(1, "http_requests_total", "handler", handler, "method", "DELETE", "code", "404")

	// Merged deltas are counted separately: the transactions add up to the deltas that were
	// sent.
	before := a.families()["coordinator_persist_batch_size"].GetMetric()[0].GetHistogram().GetSampleSum()
	const writers, each = 16, 20
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				d := rebind.Delta{Ops: []rebind.Op{
					{Name: rebind.Name(fmt.Sprintf("t/w%d-%d", w, i)), Put: &rebind.Content{}},
					{Name: rebind.Name(fmt.Sprintf("t/v%d-%d", w, i)), Put: &rebind.Content{}},
				}}
				if _, err := a.node.Commit(context.Background(), d); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	sizes := a.families()["coordinator_persist_batch_size"].GetMetric()[0].GetHistogram()
	if got := sizes.GetSampleSum() - before; got != writers*each {
		t.Errorf("%v deltas in %d transactions, want %d", got, sizes.GetSampleCount(), writers*each)
	}
}

func TestMetrics_CountMastership(t *testing.T) {
	p := newPlane(t)
	a := p.join("a", modes.Auto, modes.StateMaster)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	a.shows(1, "transitions_total", "from", "INITIALIZING", "to", "HOT_STANDBY")
	a.shows(1, "transitions_total", "from", "HOT_STANDBY", "to", "MASTER")
	a.shows(1, "rebind_duration_seconds", "phase", "state")
	a.shows(1, "mirror_load_duration_seconds", "result", "ok")

	changes, err := b.value("master_changes_total")
	if err != nil {
		t.Fatal(err)
	}
	a.do(http.MethodPost, "/v1/plane/handover", `{"to":"nobody"}`, http.StatusConflict)
	a.do(http.MethodPost, "/v1/plane/handover", `{"to":"b"}`, http.StatusOK)
	a.shows(1, "handover_duration_seconds", "result", "refused")
	a.shows(1, "handover_duration_seconds", "result", "ok")
	a.shows(0, "is_master")
	b.shows(1, "is_master")
	b.shows(1, "failover_gap_seconds", "reason", "handover")
	b.shows(changes+1, "master_changes_total")

	p.store.Revoke("b")
	a.shows(1, "is_master")
	a.shows(1, "failover_gap_seconds", "reason", "failover")
	b.shows(changes+2, "master_changes_total")
}

// A node that has lost its store reports that: reading its metrics does not contact the
// store.
func TestMetrics_AreReadWithoutAStore(t *testing.T) {
	p := newPlaneOf(t, 2*time.Second) // until its lease has lapsed
	a := p.join("a", modes.Auto, modes.StateMaster)
	p.store.Cut("a")
	p.store.Revoke("a")
	a.shows(0, "is_master")
	a.shows(0, "etcd_connected")
	resp, err := a.client.Get(a.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %d %v", resp.StatusCode, err)
	}
	if !strings.Contains(string(text), "coordinator_etcd_connected 0") {
		t.Errorf("GET /metrics does not show that the store is away:\n%.500s", text)
	}
}

// Without traces nothing of OpenTelemetry is set up: no request carries a trace, and goleak
// finds no exporter.
func TestTraces_AreNotMadeUnlessWanted(t *testing.T) {
	told := quiet(t)
	var passed http.Header
	direct := roundTripper(func(r *http.Request) (*http.Response, error) {
		passed = r.Header
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := told.Transport(direct).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if len(passed) != 0 {
		t.Errorf("a forwarded request carries %v", passed)
	}
	told.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if trace.SpanContextFromContext(r.Context()).IsValid() {
			t.Error("a request is traced")
		}
	})).ServeHTTP(httptest.NewRecorder(), req)
}

type roundTripper func(r *http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Event streams pass through the counting wrapper: they are flushed, and their clients are
// counted while connected.
func TestMetrics_CountFollowers(t *testing.T) {
	a := newPlane(t).join("a", modes.Auto, modes.StateMaster)
	resp, err := a.client.Get(a.url + "/v1/watch")
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	a.shows(1, "sse_clients")
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	a.shows(0, "sse_clients")
	a.shows(1, "http_requests_total", "handler", "/v1/watch", "method", "GET", "code", "200")
}
