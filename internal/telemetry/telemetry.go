// Package telemetry exports metrics to Prometheus and traces to OpenTelemetry. It wraps the
// existing interfaces: between a node and its store, between the API and its node, and
// around the API. The observed packages therefore know nothing of it, and a program that
// embeds them without it pays nothing.
//
// Events are counted as they happen. State is read from the node's status at scrape time,
// which waits for nothing and does not contact the store.
//
// Spans are made here and sent by package otlp, so that whoever needs none does not compile
// what sends them.
//
// Labels have few values, all known here. Names, ids and error texts belong in the log.
package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
)

// Config configures [New]. Every field may be left out.
type Config struct {
	// Traces makes spans; nil means that there are none.
	Traces Traces
	// LinesLost returns the number of log lines that were dropped; nil means that none ever
	// are.
	LinesLost func() int64
}

// Telemetry is the telemetry of one node. It exports what it was made to observe: the store,
// the node, changes of state, renewals, requests to etcd.
type Telemetry struct {
	registry *prometheus.Registry // a registry of its own, since an embedded etcd fills the default one
	states   stateCounters
	renewals renewalCounters
	store    storeCounters
	etcd     etcdCounters
	api      apiCounters
	last     int64                // the plane's latest term; used only by the goroutine that follows the plane
	traces   Traces               // nil if there are none
	tracer   trace.Tracer         // never nil
	ttl      func() time.Duration // of leases; nil if the store is not observed
}

// New returns the telemetry for a node that is not created yet.
func New(cfg Config) *Telemetry {
	t := &Telemetry{registry: prometheus.NewRegistry(), traces: cfg.Traces, tracer: noop.NewTracerProvider().Tracer(Scope)}
	if t.traces != nil {
		t.tracer = t.traces.Tracer()
	}
	t.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	t.states.create()
	t.renewals.create()
	t.store.create()
	t.etcd.create()
	t.api.create()
	if cfg.LinesLost != nil {
		t.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "log_lines_lost_total", Help: "Log lines that were lost because nobody read them in time.",
		}, func() float64 { return float64(cfg.LinesLost()) }))
	}
	return t
}

// Exposition returns the handler for Prometheus.
func (t *Telemetry) Exposition() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}

// Transitions returns a function that counts a change of the node's state.
func (t *Telemetry) Transitions() func(coordinator.Transition) {
	t.export(&t.states.group)
	return func(change coordinator.Transition) {
		t.states.transitions.WithLabelValues(change.From.String(), change.To.String()).Inc()
	}
}

// Renewals returns a function that counts an attempt to renew the node's lease.
func (t *Telemetry) Renewals() func(took time.Duration, err error) {
	t.export(&t.renewals.group)
	return func(took time.Duration, err error) {
		t.renewals.durations.Observe(took.Seconds())
		if err != nil {
			t.renewals.failures.Inc()
		}
	}
}

// Node wraps n for the API: what it does is counted and traced. From now on the gauges
// describe n. Call it once.
func (t *Telemetry) Node(n httpapi.Node) httpapi.Node {
	t.export(&t.api.group)
	t.registry.MustRegister(buildInfo(n.Status().Version), statusCollector{node: n, ttl: t.ttl})
	return node{Node: n, t: t}
}
