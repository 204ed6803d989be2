package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/modes"
)

// status tells what a node is, at the moment it is asked.
type status struct {
	node httpapi.Node
	ttl  func() time.Duration
}

var _ prometheus.Collector = status{}

// Describe implements [prometheus.Collector].
func (s status) Describe(ch chan<- *prometheus.Desc) {
	ch <- nodeInfo
	ch <- stateIs
	for _, g := range gauges {
		ch <- g.desc
	}
	for _, g := range copied {
		ch <- g.desc
	}
}

// Collect implements [prometheus.Collector].
func (s status) Collect(ch chan<- prometheus.Metric) {
	f := facts{Status: s.node.Status(), plane: s.node.Glimpse(), ttl: s.ttl()}
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	tell(nodeInfo, 1, f.Plane, f.ID, f.Mode.String())
	for _, state := range modes.States() {
		tell(stateIs, truth(f.State == state), state.String())
	}
	for _, g := range gauges {
		tell(g.desc, g.value(&f))
	}
	if f.Mirror == nil {
		return
	}
	for _, g := range copied {
		tell(g.desc, g.value(&f))
	}
}

// facts are a node's status and how it sees its plane.
type facts struct {
	coordinator.Status
	plane coordinator.Plane
	ttl   time.Duration
}

// gauge is one fact as a number.
type gauge struct {
	desc  *prometheus.Desc
	value func(f *facts) float64
}

var (
	nodeInfo = describe("node_info", "The node: always 1. Join with it to know the plane of what a node tells.", "plane", "node", "mode")
	stateIs  = describe("state", "1 for the state that the node is in, 0 for the others.", "state")
)

// gauges are told by every node.
var gauges = []gauge{
	{describe("is_master", "1 while the node is master, within its deadline."), func(f *facts) float64 { return truth(f.Acting) }},
	{describe("no_master", "1 while the node sees no master in its plane."), func(f *facts) float64 {
		_, ok := f.plane.Master()
		return truth(!ok)
	}},
	{describe("term", "The plane's last term, as far as the node has seen."), func(f *facts) float64 { return float64(f.PlaneTerm) }},
	{describe("live_nodes", "Nodes that the node sees alive in its plane."), func(f *facts) float64 { return float64(len(f.plane.Members)) }},
	{describe("candidates", "Nodes that could lead if the master went, as the node sees its plane."), func(f *facts) float64 {
		return float64(len(coordinator.Candidates(f.plane)))
	}},
	{describe("paused", "1 while automatic promotion is paused."), func(f *facts) float64 { return truth(f.plane.Pause != nil) }},
	{describe("lease_margin_seconds", "For how long the node's lease can be relied on without another renewal; 0 if it cannot."), func(f *facts) float64 { return f.LeaseRemaining.Seconds() }},
	{describe("lease_ttl_seconds", "Time to live of the node's lease: what etcd granted or, before it has, what it is asked for."), func(f *facts) float64 { return f.ttl.Seconds() }},
	{describe("etcd_connected", "1 while the store has renewed the node's lease in time."), func(f *facts) float64 { return truth(f.LeaseRemaining > 0) }},
	{describe("store_full", "1 while the store has no room for this master's puts."), func(f *facts) float64 { return truth(f.StoreFull) }},
}

// copied are told by nodes that hold a copy of the state.
var copied = []gauge{
	{describe("mirror_lag_seconds", "Time since the node's copy was last known to be current; 0 on a master."), func(f *facts) float64 { return f.Mirror.Staleness.Seconds() }},
	{describe("mirror_revision", "Revision of the store that the node's copy shows."), func(f *facts) float64 { return float64(f.Mirror.Revision) }},
	{describe("mementos", "Mementos in the node's copy, those in quarantine left out."), func(f *facts) float64 { return float64(f.Mirror.Count) }},
	{describe("mementos_bytes", "Names and payloads in the node's copy."), func(f *facts) float64 { return float64(f.Mirror.Bytes) }},
	{describe("mementos_quarantined", "Mementos that cannot be used."), func(f *facts) float64 { return float64(f.Quarantined) }},
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
