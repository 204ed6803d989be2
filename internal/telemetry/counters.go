// Metrics that are updated as things happen.

package telemetry

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// prefix begins the name of every metric of this project.
const prefix = "coordinator_"

// group is a set of metrics that are exported together, once what they count is observed: a
// metric that could only be 0 would mislead.
type group struct {
	metrics []prometheus.Collector
	once    sync.Once
}

// export exports a group from now on.
func (t *Telemetry) export(g *group) { g.once.Do(func() { t.registry.MustRegister(g.metrics...) }) }

// stateCounters count changes of the node's state.
type stateCounters struct {
	group
	transitions *prometheus.CounterVec
}

// renewalCounters count renewals of the node's lease.
type renewalCounters struct {
	group
	durations prometheus.Histogram
	failures  prometheus.Counter
}

// storeCounters count what the node does in its store.
type storeCounters struct {
	group
	changes     prometheus.Counter
	gap, rebind *prometheus.HistogramVec
	load        *prometheus.HistogramVec
	transaction prometheus.Histogram
	batch       prometheus.Histogram
	fenced      prometheus.Counter
}

// etcdCounters count requests to etcd.
type etcdCounters struct {
	group
	requests *prometheus.HistogramVec
}

// apiCounters count requests to the API, and what they make the node do.
type apiCounters struct {
	group
	staleness prometheus.Histogram
	handover  *prometheus.HistogramVec
	queue     prometheus.Gauge
	persist   prometheus.Histogram
	failures  *prometheus.CounterVec

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

// Where a label has few values, all are created at the start, so that the first event shows as
// a rise from zero.

// create makes the metrics.
func (c *stateCounters) create() {
	c.transitions = c.counters("transitions_total", "Changes of the node's state.", "from", "to")
}

// create makes the metrics.
func (c *renewalCounters) create() {
	c.durations = c.histogram("lease_renew_duration_seconds", "Time of an attempt to renew the node's lease.", quick)
	c.failures = c.counter("lease_renew_failures_total", "Attempts to renew the node's lease that failed.")
}

// create makes the metrics.
func (c *storeCounters) create() {
	c.changes = c.counter("master_changes_total", "Number of times the node saw a new term begin in its plane.")
	c.gap = c.histograms("failover_gap_seconds", "Time from the end of the previous term, as this node saw it, to its own announcement as master; by why the term began.", gaps, "reason")
	c.rebind = c.histograms("rebind_duration_seconds", "Time of a promotion of this node: from its election until all state is in memory (state), and from then until its announcement (announce).", slow, "phase")
	c.load = c.histograms("mirror_load_duration_seconds", "Time of a load of all mementos from the store.", slow, "result")
	c.transaction = c.histogram("persist_transaction_duration_seconds", "Time of one memento transaction, whatever its outcome.", quick)
	c.batch = c.histogram("persist_batch_size", "Deltas in one transaction.", counts)
	c.fenced = c.counter("fenced_writes_total", "Memento transactions that the store refused because this node's term was over.")
	for _, why := range []driver.Reason{driver.ReasonFailover, driver.ReasonHandover, driver.ReasonDemotion} {
		c.gap.WithLabelValues(string(why))
	}
	for _, phase := range []string{phaseState, phaseAnnounce} {
		c.rebind.WithLabelValues(phase)
	}
	for _, result := range []string{resultOK, resultRefused, resultFailed} {
		c.load.WithLabelValues(result)
	}
}

// create makes the metrics.
func (c *etcdCounters) create() {
	c.requests = c.histograms("etcd_request_duration_seconds", "Time of a request to etcd, each attempt separately.", quick, "op", "code")
}

// create makes the metrics.
func (c *apiCounters) create() {
	c.staleness = c.histogram("read_staleness_seconds", "Age of the state with which reads were answered; 0 on a master.", quick)
	c.handover = c.histograms("handover_duration_seconds", "Time of a handover requested from this node as master, from the request to the new master's announcement.", quick, "result")
	c.queue = c.gauge("persist_queue_length", "Deltas waiting to be committed to the store.")
	c.persist = c.histogram("persist_duration_seconds", "Time from accepting a delta until it is stored and visible, including waiting; only deltas that were stored.", quick)
	c.failures = c.counters("persist_failures_total", "Deltas that were not stored, or whose outcome is unknown.", "reason")
	c.requests = c.counters("http_requests_total", "Requests to the API that were answered.", "handler", "method", "code")
	c.durations = c.histograms("http_request_duration_seconds", "Time to answer a request to the API, event streams excluded.", quick, "handler", "method")
	c.forwarded = c.counters("http_forwarded_total", "Requests forwarded to the master: answered by it, declined because it does not lead, or failed on the way.", "result")
	c.streams = c.gauge("sse_clients", "Clients following changes.")
	for _, result := range []string{resultOK, resultRefused, resultUnknown, resultFailed} {
		c.handover.WithLabelValues(result)
	}
	for _, f := range failureReasons() {
		c.failures.WithLabelValues(f.reason)
	}
	c.failures.WithLabelValues(reasonOther)
	for _, result := range []string{forwardAnswered, forwardDeclined, forwardFailed} {
		c.forwarded.WithLabelValues(result)
	}
}

func (g *group) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	g.metrics = append(g.metrics, c)
	return c
}

func (g *group) counter(name, help string) prometheus.Counter {
	return g.counters(name, help).WithLabelValues()
}

func (g *group) gauge(name, help string) prometheus.Gauge {
	c := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
	g.metrics = append(g.metrics, c)
	return c
}

// histograms have classic buckets and native ones; each native bucket is a tenth wider than
// the one before.
func (g *group) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	g.metrics = append(g.metrics, h)
	return h
}

func (g *group) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return g.histograms(name, help, buckets).WithLabelValues().(prometheus.Histogram)
}

// buildInfo is a metric that identifies the program.
func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "The program: always 1.",
	}, []string{"version", "revision", "go_version"})
	info.WithLabelValues(version, sourceRevision(), runtime.Version()).Set(1)
	return info
}

// sourceRevision is the source revision recorded by the build, if any.
func sourceRevision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
