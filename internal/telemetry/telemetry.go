// Package telemetry tells Prometheus and OpenTelemetry what a node does. It stands
// at the seams that are there anyway: between a node and its store, between the API
// and its node, and around the API. So the packages it looks at know nothing of it,
// and a program that uses them compiles and pays nothing for it.
//
// What a node has done is counted as it happens. What it is, is read from its
// status when somebody asks: that waits for nobody and asks no store.
//
// Labels take few values, each known here. Names, ids and the texts of errors are
// for the log.
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

// Config says what tells. Version and Node are required.
type Config struct {
	Version  string
	Revision string // of the source; empty if the build does not know it
	Node     string
	Plane    string
	// Traces says that spans are to be sent, to where the environment says; see
	// [Traced].
	Traces bool
	// LinesLost counts the lines of the log that nobody has read in time; nil: none ever.
	LinesLost func() int64
	// Logger is told of spans that could not be sent; nil means nobody is.
	Logger *zap.Logger
}

// Telemetry is what one node tells. Close it when the node has ended.
type Telemetry struct {
	registry *prometheus.Registry // its own: an embedded etcd fills the default one
	counted  counted
	last     int64                // the plane's last term; of the goroutine that follows the plane
	spans    *spans               // nil if none are sent
	tracer   trace.Tracer         // never nil
	ttl      func() time.Duration // of leases
}

// New returns the telemetry of a node that has yet to be made.
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
	t.counted = count(t.registry)
	if cfg.LinesLost != nil {
		t.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "log_lines_lost_total", Help: "Lines of the log that were lost because nobody read them in time.",
		}, func() float64 { return float64(cfg.LinesLost()) }))
	}
	return t, nil
}

// Close sends the spans that are left, as far as ctx lasts.
func (t *Telemetry) Close(ctx context.Context) error {
	if t.spans == nil {
		return nil
	}
	return t.spans.provider.Shutdown(ctx)
}

// Exposition shows the metrics to Prometheus.
func (t *Telemetry) Exposition() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}

// Transition counts a change of the node's state.
func (t *Telemetry) Transition(change coordinator.Transition) {
	t.counted.transitions.WithLabelValues(change.From.String(), change.To.String()).Inc()
}

// Renewal counts a try to renew the node's lease.
func (t *Telemetry) Renewal(took time.Duration, err error) {
	t.counted.renewal.Observe(took.Seconds())
	if err != nil {
		t.counted.renewalFailures.Inc()
	}
}

// Node returns n as the API is to use it: what it does is counted and traced. From
// here on the metrics tell what n is.
func (t *Telemetry) Node(n httpapi.Node) httpapi.Node {
	t.registry.MustRegister(status{node: n, ttl: t.ttl})
	return node{Node: n, t: t}
}
