package coordhttp

import (
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// Metrics count what a node does where it happens. Connect what is wanted before the node is made,
// and give the Metrics to its API. A metric is exported only if what it counts is connected.
//
//	m := coordhttp.NewMetrics()
//	store, err := etcdstore.Open(ctx, etcdstore.Config{OnRenewal: m.Renewals(), DialOptions: m.DialOptions(), …})
//	node, err := coordinator.New(coordinator.Config{Observe: m.Transitions(), …}, m.Store(store))
//	err = coordhttp.Run(ctx, node, l, coordhttp.Options{Metrics: m})
//
// Metrics are for one node. docs/OPERATIONS.md has their names.
type Metrics struct{ telemetry *telemetry.Telemetry }

// NewMetrics returns metrics that are connected to nothing.
func NewMetrics() *Metrics { return &Metrics{telemetry.New(telemetry.Config{})} }

// Store returns a store that counts what the node does in s: loads, elections, terms, transactions.
// Give it to [coordinator.New] instead of s.
func (m *Metrics) Store(s driver.Store) driver.Store { return m.telemetry.Store(s) }

// Transitions returns a function that counts changes of state, for [coordinator.Config.Observe].
func (m *Metrics) Transitions() func(coordinator.Transition) { return m.telemetry.Transitions() }

// Renewals returns a function that counts renewals of the node's lease, for the field OnRenewal of
// etcdstore.Config.
func (m *Metrics) Renewals() func(took time.Duration, err error) { return m.telemetry.Renewals() }

// DialOptions count requests to etcd, for the field of that name of etcdstore.Config.
func (m *Metrics) DialOptions() []grpc.DialOption { return m.telemetry.DialOptions() }

// ServeHTTP implements [http.Handler]: it answers as GET /metrics does, but asks for no
// credentials.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.telemetry.Exposition().ServeHTTP(w, r)
}
