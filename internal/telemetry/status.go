// Metrics that are read from the node's status when they are scraped.

package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// statusCollector collects metrics from the node's status when they are scraped.
type statusCollector struct {
	node httpapi.Node
	ttl  func() time.Duration // nil: the store is not observed
}

var _ prometheus.Collector = statusCollector{}

// Describe implements [prometheus.Collector].
func (s statusCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- nodeInfo
	ch <- stateIs
	ch <- leaseTTL
	for _, g := range gauges {
		ch <- g.desc
	}
	for _, g := range copyGauges {
		ch <- g.desc
	}
}

// Collect implements [prometheus.Collector].
func (s statusCollector) Collect(ch chan<- prometheus.Metric) {
	f := nodeFacts{Status: s.node.Status(), plane: s.node.CachedPlane()}
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if s.ttl != nil {
		tell(leaseTTL, s.ttl().Seconds())
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
	for _, g := range copyGauges {
		tell(g.desc, g.value(&f))
	}
}

// facts are a node's status and its view of the plane.
type nodeFacts struct {
	coordinator.Status
	plane driver.Plane
}

// gauge is one fact as a number.
type gauge struct {
	desc  *prometheus.Desc
	value func(f *nodeFacts) float64
}

var (
	nodeInfo = describe("node_info", "Always 1. Join with it to add plane, node and mode to other metrics.", "plane", "node", "mode")
	leaseTTL = describe("lease_ttl_seconds", "Time to live of the node's lease: as granted by etcd or, before that, as requested.")
	stateIs  = describe("state", "1 for the state that the node is in, 0 for the others.", "state")
)

// gauges are exported by every node.
var gauges = []gauge{
	{describe("is_master", "1 while the node is master, within its deadline."), func(f *nodeFacts) float64 { return truth(f.Acting) }},
	{describe("no_master", "1 while the node sees no master in its plane."), func(f *nodeFacts) float64 {
		_, ok := f.plane.Master()
		return truth(!ok)
	}},
	{describe("term", "The plane's latest term that the node has seen."), func(f *nodeFacts) float64 { return float64(f.PlaneTerm) }},
	{describe("live_nodes", "Live nodes that the node sees in its plane."), func(f *nodeFacts) float64 { return float64(len(f.plane.Members)) }},
	{describe("candidates", "Nodes that could lead if the master went, as the node sees its plane."), func(f *nodeFacts) float64 {
		return float64(len(policy.Candidates(f.plane)))
	}},
	{describe("paused", "1 while automatic promotion is paused."), func(f *nodeFacts) float64 { return truth(f.plane.Pause != nil) }},
	{describe("lease_margin_seconds", "How long the node's lease can be relied on without another renewal; 0 if it cannot."), func(f *nodeFacts) float64 { return f.LeaseRemaining.Seconds() }},
	{describe("etcd_connected", "1 while the node's lease is renewed in time."), func(f *nodeFacts) float64 { return truth(f.LeaseRemaining > 0) }},
	{describe("store_full", "1 while the store has no room for this master's puts."), func(f *nodeFacts) float64 { return truth(f.StoreFull) }},
}

// copyGauges are exported by nodes that hold a copy of the state.
var copyGauges = []gauge{
	{describe("mirror_lag_seconds", "Time since the node's copy was last confirmed to be current; 0 on a master."), func(f *nodeFacts) float64 { return f.Mirror.Staleness.Seconds() }},
	{describe("mirror_revision", "Store revision of the node's copy."), func(f *nodeFacts) float64 { return float64(f.Mirror.Revision) }},
	{describe("mementos", "Mementos in the node's copy, quarantined ones excluded."), func(f *nodeFacts) float64 { return float64(f.Mirror.Count) }},
	{describe("mementos_bytes", "Total size of names and payloads in the node's copy."), func(f *nodeFacts) float64 { return float64(f.Mirror.Bytes) }},
	{describe("mementos_quarantined", "Mementos that cannot be used."), func(f *nodeFacts) float64 { return float64(f.Quarantined) }},
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
