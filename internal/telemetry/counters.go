// Metrics that are updated as things happen.

package telemetry

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// prefix begins the name of every metric of this project.
const prefix = "coordinator_"

// counters are the metrics that are updated as things happen.
type counters struct {
	transitions *prometheus.CounterVec
	changes     prometheus.Counter
	gap, rebind *prometheus.HistogramVec
	handover    *prometheus.HistogramVec

	renewal         prometheus.Histogram
	renewalFailures prometheus.Counter
	fenced          prometheus.Counter

	load      *prometheus.HistogramVec
	staleness prometheus.Histogram

	queue       prometheus.Gauge
	persist     prometheus.Histogram
	transaction prometheus.Histogram
	batch       prometheus.Histogram
	failures    *prometheus.CounterVec

	etcd      *prometheus.HistogramVec
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	forwarded *prometheus.CounterVec
	streams   prometheus.Gauge
}

// Bucket bounds, for scrapers that do not use native histograms.
var (
	quick  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	slow   = []float64{.001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 300}
	gaps   = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	counts = []float64{1, 2, 4, 8, 16, 32, 64, 120}
)

// newCounters creates the metrics. Where a label has few values, all are created at the
// start, so that the first event shows as a rise from zero.
func newCounters(r *prometheus.Registry) counters {
	f := factory{r}
	c := counters{
		transitions: f.counters("transitions_total", "Changes of the node's state.", "from", "to"),
		changes:     f.counter("master_changes_total", "Number of times the node saw a new term begin in its plane."),
		gap:         f.histograms("failover_gap_seconds", "Time from the end of the previous term, as this node saw it, to its own announcement as master; by why the term began.", gaps, "reason"),
		rebind:      f.histograms("rebind_duration_seconds", "Time of a promotion of this node: from its election until all state is in memory (state), and from then until its announcement (announce).", slow, "phase"),
		handover:    f.histograms("handover_duration_seconds", "Time of a handover requested from this node as master, from the request to the new master's announcement.", quick, "result"),

		renewal:         f.histogram("lease_renew_duration_seconds", "Time of an attempt to renew the node's lease.", quick),
		renewalFailures: f.counter("lease_renew_failures_total", "Attempts to renew the node's lease that failed."),
		fenced:          f.counter("fenced_writes_total", "Memento transactions that the store refused because this node's term was over."),

		load:      f.histograms("mirror_load_duration_seconds", "Time of a load of all mementos from the store.", slow, "result"),
		staleness: f.histogram("read_staleness_seconds", "Age of the state with which reads were answered; 0 on a master.", quick),

		queue:       f.gauge("persist_queue_length", "Deltas waiting to be committed to the store."),
		persist:     f.histogram("persist_duration_seconds", "Time from accepting a delta until it is stored and visible, including waiting; only deltas that were stored.", quick),
		transaction: f.histogram("persist_transaction_duration_seconds", "Time of one memento transaction, whatever its outcome.", quick),
		batch:       f.histogram("persist_batch_size", "Deltas in one transaction.", counts),
		failures:    f.counters("persist_failures_total", "Deltas that were not stored, or whose outcome is unknown.", "reason"),

		etcd:      f.histograms("etcd_request_duration_seconds", "Time of a request to etcd, each attempt separately.", quick, "op", "code"),
		requests:  f.counters("http_requests_total", "Requests to the API that were answered.", "handler", "method", "code"),
		durations: f.histograms("http_request_duration_seconds", "Time to answer a request to the API, event streams excluded.", quick, "handler", "method"),
		forwarded: f.counters("http_forwarded_total", "Requests forwarded to the master: answered by it, declined because it does not lead, or failed on the way.", "result"),
		streams:   f.gauge("sse_clients", "Clients following changes."),
	}
	for _, why := range []driver.Reason{driver.ReasonFailover, driver.ReasonHandover, driver.ReasonDemotion} {
		c.gap.WithLabelValues(string(why))
	}
	for _, phase := range []string{phaseState, phaseAnnounce} {
		c.rebind.WithLabelValues(phase)
	}
	for _, result := range []string{resultOK, resultRefused, resultUnknown, resultFailed} {
		c.handover.WithLabelValues(result)
	}
	for _, result := range []string{resultOK, resultRefused, resultFailed} {
		c.load.WithLabelValues(result)
	}
	for _, f := range failureReasons() {
		c.failures.WithLabelValues(f.reason)
	}
	c.failures.WithLabelValues(reasonOther)
	for _, result := range []string{forwardAnswered, forwardDeclined, forwardFailed} {
		c.forwarded.WithLabelValues(result)
	}
	return c
}

// factory creates metrics and registers them.
type factory struct{ registry *prometheus.Registry }

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	f.registry.MustRegister(c)
	return c
}

func (f factory) counter(name, help string) prometheus.Counter {
	return f.counters(name, help).WithLabelValues()
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
	f.registry.MustRegister(g)
	return g
}

// histograms have classic buckets and native ones; each native bucket is a tenth wider than
// the one before.
func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	f.registry.MustRegister(h)
	return h
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return f.histograms(name, help, buckets).WithLabelValues().(prometheus.Histogram)
}

// buildInfo is a metric that identifies the program.
func buildInfo(cfg *Config) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "The program: always 1.",
	}, []string{"version", "revision", "go_version"})
	info.WithLabelValues(cfg.Version, cfg.Revision, runtime.Version()).Set(1)
	return info
}
