// Package telemetry exports metrics to Prometheus and traces to OpenTelemetry. It wraps the
// existing interfaces: between a node and its store, between the API and its node, and
// around the API. The observed packages therefore know nothing of it, and a program that
// embeds them without it pays nothing.
//
// Events are counted as they happen. State is read from the node's status at scrape time,
// which waits for nothing and does not contact the store.
//
// Labels have few values, all known here. Names, ids and error texts belong in the log.
package telemetry

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
)

// Config configures [New]. Version and Node are required.
type Config struct {
	Version  string
	Revision string // source revision; empty if the build does not know it
	Node     string
	Plane    string
	// Traces turns on spans, which are sent to the endpoint in the environment; see
	// [Traced].
	Traces bool
	// LinesLost returns the number of log lines that were dropped; nil means that none ever
	// are.
	LinesLost func() int64
	// Logger logs spans that could not be sent; nil disables that.
	Logger *zap.Logger
}

// Telemetry is the telemetry of one node. Close it when the node has ended.
type Telemetry struct {
	registry *prometheus.Registry // a registry of its own, since an embedded etcd fills the default one
	counters counters
	last     int64                // the plane's latest term; used only by the goroutine that follows the plane
	spans    *spans               // nil if no spans are sent
	tracer   trace.Tracer         // never nil
	ttl      func() time.Duration // of leases
}

// New returns the telemetry for a node that is not created yet.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	t := &Telemetry{registry: prometheus.NewRegistry(), tracer: noop.NewTracerProvider().Tracer(scope)}
	if cfg.Traces {
		var err error
		if t.spans, err = newSpans(ctx, &cfg); err != nil {
			return nil, err
		}
		t.tracer = t.spans.provider.Tracer(scope)
	}
	t.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(&cfg),
	)
	t.counters = newCounters(t.registry)
	if cfg.LinesLost != nil {
		t.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "log_lines_lost_total", Help: "Log lines that were lost because nobody read them in time.",
		}, func() float64 { return float64(cfg.LinesLost()) }))
	}
	return t, nil
}

// Close sends the remaining spans until ctx ends.
func (t *Telemetry) Close(ctx context.Context) error {
	if t.spans == nil {
		return nil
	}
	return t.spans.provider.Shutdown(ctx)
}

// Exposition returns the handler for Prometheus.
func (t *Telemetry) Exposition() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}

// Transition counts a change of the node's state.
func (t *Telemetry) Transition(change coordinator.Transition) {
	t.counters.transitions.WithLabelValues(change.From.String(), change.To.String()).Inc()
}

// Renewal counts an attempt to renew the node's lease.
func (t *Telemetry) Renewal(took time.Duration, err error) {
	t.counters.renewal.Observe(took.Seconds())
	if err != nil {
		t.counters.renewalFailures.Inc()
	}
}

// Node wraps n for the API: what it does is counted and traced. From now on the gauges
// describe n.
func (t *Telemetry) Node(n httpapi.Node) httpapi.Node {
	t.registry.MustRegister(statusCollector{node: n, ttl: t.ttl})
	return node{Node: n, t: t}
}
