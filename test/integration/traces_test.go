package integration_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// receiver is a collector of OpenTelemetry, as nodes send their spans to.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	endpoint string

	mu    sync.Mutex // guards the field below
	spans []span
}

// span is one that arrived, and the node it came from.
type span struct {
	*trace.Span
	node string
}

// newReceiver starts a receiver that ends with the test.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{endpoint: "http://" + listener.Addr().String()}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return r
}

// Export takes in what a node sends.
func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, from := range req.GetResourceSpans() {
		node := ""
		for _, a := range from.GetResource().GetAttributes() {
			if a.GetKey() == "service.instance.id" {
				node = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range from.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, span{s, node})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// find returns the span of that name, kind, node and parent; a nil parent is any.
func (r *receiver) find(node, name string, kind trace.Span_SpanKind, parent []byte) (span, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.spans {
		if s.node == node && s.GetName() == name && s.GetKind() == kind && (parent == nil || string(s.GetParentSpanId()) == string(parent)) {
			return s, nil
		}
		names = append(names, s.node+": "+s.GetName())
	}
	return span{}, fmt.Errorf("no span %q of %s among %q", name, node, names)
}

// has waits for a span.
func (r *receiver) has(t *testing.T, node, name string, kind trace.Span_SpanKind, parent []byte) span {
	t.Helper()
	var found span
	eventually(t, maxWait, func() (err error) {
		found, err = r.find(node, name, kind, parent)
		return err
	})
	return found
}

// tracedNode starts a node that sends its spans to an endpoint.
func (c *cluster) tracedNode(id, mode, endpoint string) *process {
	c.t.Helper()
	p := &process{
		t: c.t, name: id, done: make(chan struct{}),
		cmd: exec.Command(coordinatorBin, "run", "--node-id", id, "--mode", mode, "--plane", c.plane,
			"--endpoints", c.endpoint, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(c.etcdDir, "nodes-"+id),
			"--lease-ttl", c.ttl.String(), "--log-format", "json"),
	}
	p.cmd.Env = append(p.cmd.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint)
	p.begin()
	c.served(p)
	return p
}

// One write is one trace, from its client over the node that was asked to the master
// that stored it; promotions and handovers are spans as well, and a node sends what
// it has before it ends.
func TestTraces_FollowAWriteToTheMaster(t *testing.T) {
	const (
		put     = "PUT /v1/mementos/{type}/{id}"
		traceID = "0af7651916cd43dd8448eb211c80319c"
		client  = "b7ad6b7169203331"
	)
	r := newReceiver(t)
	c := newCluster(t, 10*time.Second)
	a := c.tracedNode("a", "auto", r.endpoint)
	a.await("MASTER")
	b := c.tracedNode("b", "auto", r.endpoint)
	b.await("HOT_STANDBY")

	header := map[string]string{"traceparent": "00-" + traceID + "-" + client + "-01"}
	answer, err := call(t.Context(), http.MethodPut, b.url+"/v1/mementos/t/x", header, []byte("1"))
	if err != nil || answer.status != http.StatusCreated {
		t.Fatalf("put: %+v %v", answer, err)
	}
	answer, err = call(t.Context(), http.MethodGet, b.url+"/livez", header, nil)
	if err != nil || answer.status != http.StatusOK {
		t.Fatalf("livez: %+v %v", answer, err)
	}
	parent, err := hex.DecodeString(client)
	if err != nil {
		t.Fatal(err)
	}
	asked := r.has(t, "b", put, trace.Span_SPAN_KIND_SERVER, parent)
	sent := r.has(t, "b", put, trace.Span_SPAN_KIND_CLIENT, asked.GetSpanId())
	reached := r.has(t, "a", put, trace.Span_SPAN_KIND_SERVER, sent.GetSpanId())
	stored := r.has(t, "a", "commit", trace.Span_SPAN_KIND_INTERNAL, reached.GetSpanId())
	if got := hex.EncodeToString(stored.GetTraceId()); got != traceID {
		t.Errorf("the commit is of trace %s, want the client's %s", got, traceID)
	}
	r.has(t, "a", "promotion", trace.Span_SPAN_KIND_INTERNAL, nil)
	if s, err := r.find("b", "promotion", trace.Span_SPAN_KIND_INTERNAL, nil); err == nil {
		t.Errorf("b has not led and sends %v", s)
	}

	if code, _, stderr := command(t, "handover", "--to", "b", "--server", a.url); code != 0 {
		t.Fatalf("handover: %d %s", code, stderr)
	}
	// What is not sent yet is sent at the end, and that is soon.
	for _, p := range []*process{a, b} {
		p.signal(syscall.SIGTERM)
		if code := p.exit(maxWait); code != 0 {
			t.Errorf("%s exits with %d", p.name, code)
		}
	}
	request, err := r.find("a", "POST /v1/plane/handover", trace.Span_SPAN_KIND_SERVER, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.find("a", "handover", trace.Span_SPAN_KIND_INTERNAL, request.GetSpanId()); err != nil {
		t.Error(err)
	}
	if _, err := r.find("b", "promotion", trace.Span_SPAN_KIND_INTERNAL, nil); err != nil {
		t.Error(err)
	}
	if s, err := r.find("b", "GET /livez", trace.Span_SPAN_KIND_SERVER, nil); err == nil {
		t.Errorf("a health check is traced: %v", s)
	}
}

// A collector that is away costs a node nothing but a line in its log.
func TestTraces_CollectorIsAway(t *testing.T) {
	c := newCluster(t, 10*time.Second)
	a := c.tracedNode("a", "auto", "http://"+freeAddress(t))
	a.await("MASTER")
	a.mustPut("t/x", "1")
	began := time.Now()
	a.signal(syscall.SIGTERM)
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("it exits with %d", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}
