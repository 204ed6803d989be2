package coordtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// DefaultTTL is the TTL of leases in a plane that [New] makes.
const DefaultTTL = 6 * time.Second

// Plane is a plane of nodes in one test. All its methods are for the goroutine of the test.
// A method that waits takes the longest time to wait, in virtual time within a bubble,
// and fails the test when that has passed.
type Plane struct {
	// Wrap, if it is not nil, wraps the store of each node that is started after it was set.
	Wrap func(name string, s driver.Store) driver.Store

	t      testing.TB
	store  Backend
	bubble bool
	nodes  map[string]*Node // by name, the latest of each
	all    []*Node
}

// Backend is a store that planes of a test run on. A connection is that of one process.
type Backend interface {
	// Connect opens a connection, in the place of an earlier one of that name.
	Connect(connection string) driver.Store
	// TTL is that of the leases.
	TTL() time.Duration
	// Cut has nothing pass on a connection in either direction, renewals of the
	// lease included, or ends that.
	Cut(connection string, cut bool)
	// Expire ends the lease under which a node has its record, as if it had lapsed.
	Expire(node string)
	// Fill makes the store refuse whatever takes room, or ends that.
	Fill(full bool)
	// Compact drops all history before the present revision.
	Compact()
	// Close ends the store when all nodes have ended.
	Close()
}

// New returns an empty plane on a store in memory, with a TTL of [DefaultTTL].
func New(t testing.TB) *Plane {
	t.Helper()
	return On(t, Memory(memstore.New(DefaultTTL)))
}

// On returns a plane on the given store, which it closes when the test ends.
func On(t testing.TB, store Backend) *Plane {
	t.Helper()
	p := &Plane{t: t, store: store, bubble: inBubble(), nodes: make(map[string]*Node)}
	t.Cleanup(p.close)
	return p
}

// Memory returns a backend that keeps planes in s, whose own methods have further faults.
func Memory(s *memstore.Server) Backend { return memory{s} }

type memory struct{ *memstore.Server }

// Connect opens a connection.
func (m memory) Connect(connection string) driver.Store { return m.Node(connection) }

// TTL is that of the leases.
func (m memory) TTL() time.Duration { return m.Node("").TTL() }

// Expire ends the lease of a node.
func (m memory) Expire(node string) { m.Revoke(node) }

// Cut cuts a connection or heals it.
func (m memory) Cut(connection string, cut bool) {
	if cut {
		m.Server.Cut(connection)
	} else {
		m.Heal(connection)
	}
}

// inBubble reports whether the caller is in a bubble of package synctest, which has no
// way to ask.
func inBubble() (in bool) {
	defer func() { in = recover() == nil }()
	synctest.Wait()
	return true
}

func (p *Plane) close() {
	for _, n := range p.all {
		n.Thaw()
		n.Heal()
	}
	for _, n := range p.all {
		n.cancel()
	}
	for _, n := range p.all {
		_ = n.Wait()
	}
	p.store.Close()
	for _, n := range p.all {
		n.link.tasks.Wait()
	}
}

// Start starts a node and does not wait for what it becomes. Only cfg.ID is required:
// Plane is "p" unless it is set, URI http://ID, Version 1.0.0, Mode auto, and Logger writes
// to the log of the test. A configuration that is not valid fails the test.
func (p *Plane) Start(cfg coordinator.Config) *Node {
	p.t.Helper()
	return p.StartAs(cfg.ID, cfg)
}

// StartAs is [Plane.Start] for a node whose name in the test is not its id: use it for a
// second process with the id of another one.
func (p *Plane) StartAs(name string, cfg coordinator.Config) *Node {
	p.t.Helper()
	p.complete(&cfg)
	n := &Node{t: p.t, plane: p, name: name, connection: name}
	for _, o := range p.all { // a process that was killed leaves its connection behind, for ever cut
		if o.name == name && o.killed {
			n.connection += "'"
		}
	}
	observe := cfg.Observe
	cfg.Observe = func(t coordinator.Transition) {
		n.mu.Lock()
		n.seen = append(n.seen, t)
		n.mu.Unlock()
		if observe != nil {
			observe(t)
		}
	}
	n.link = newFaultyStore(p.store.Connect(n.connection))
	var store driver.Store = n.link
	if p.Wrap != nil {
		store = p.Wrap(name, store)
	}
	node, err := coordinator.New(cfg, store)
	if err != nil {
		p.t.Fatal(err)
	}
	n.Node = node
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = node.Run(ctx) })
	n.wait = func() error { running.Wait(); return ended }
	p.nodes[name] = n
	p.all = append(p.all, n)
	return n
}

// complete sets what a configuration leaves out.
func (p *Plane) complete(cfg *coordinator.Config) {
	if cfg.Plane == "" {
		cfg.Plane = "p"
	}
	if cfg.URI == "" {
		cfg.URI = "http://" + cfg.ID
	}
	if cfg.Version == "" {
		cfg.Version = "1.0.0"
	}
	if !cfg.Mode.Valid() {
		cfg.Mode = modes.Auto
	}
	if cfg.Logger == nil {
		cfg.Logger = zaptest.NewLogger(p.t, zaptest.Level(zap.InfoLevel))
	}
}

// TTL is that of the leases.
func (p *Plane) TTL() time.Duration { return p.store.TTL() }

// Node returns the node that was started last under a name, and fails if none was.
func (p *Plane) Node(name string) *Node {
	p.t.Helper()
	n, ok := p.nodes[name]
	if !ok {
		p.t.Fatalf("no node %s was started", name)
	}
	return n
}

// States returns the state of each node by name. A node that was killed has none.
func (p *Plane) States() map[string]modes.State {
	states := make(map[string]modes.State)
	for name, n := range p.nodes {
		if !n.killed {
			states[name] = n.State()
		}
	}
	return states
}

// Fill makes the store refuse whatever takes room, or ends that.
func (p *Plane) Fill(full bool) { p.store.Fill(full) }

// Compact drops all history before the present revision: streams that are behind break.
func (p *Plane) Compact() { p.store.Compact() }

// Away has no node reach the store, or ends that. It holds for the nodes that have been
// started, also for one that was partitioned alone.
func (p *Plane) Away(away bool) {
	for _, n := range p.all {
		if !n.killed {
			p.store.Cut(n.connection, away)
		}
	}
}

// Backup copies what the store holds and returns what puts the copy back, as when etcd
// is restored from a backup while nodes run. It fails on a store that cannot.
func (p *Plane) Backup() (restore func()) {
	p.t.Helper()
	m, ok := p.store.(memory)
	if !ok {
		p.t.Fatal("this store cannot be restored while it runs")
		return nil
	}
	b := m.Backup()
	return func() { m.PutBack(b, 0) }
}

// Pass lets time pass and, in a bubble, everything happen that happens in it.
func (p *Plane) Pass(d time.Duration) {
	<-time.After(d)
	if p.bubble {
		synctest.Wait()
	}
}

// Await waits until ok returns nil, and fails with its last error.
func (p *Plane) Await(within time.Duration, ok func() error) {
	p.t.Helper()
	const step = 10 * time.Millisecond
	var err error
	for deadline := time.Now().Add(within); ; p.Pass(step) {
		if err = ok(); err == nil {
			return
		}
		if !time.Now().Before(deadline) {
			break
		}
	}
	p.t.Fatalf("not within %s: %v", within, err)
}

// AwaitMaster waits until exactly one node is MASTER and acts as one, and returns it.
func (p *Plane) AwaitMaster(within time.Duration) *Node {
	p.t.Helper()
	var found *Node
	p.Await(within, func() error {
		found = nil
		for _, n := range p.nodes {
			if n.killed || !n.Status().Acting {
				continue
			}
			if found != nil {
				return fmt.Errorf("two nodes act as master: %s and %s", found.name, n.name)
			}
			found = n
		}
		if found == nil {
			return fmt.Errorf("no node acts as master: %v", p.States())
		}
		return nil
	})
	return found
}

// AwaitTerm waits until a node acts as master in a term above the given one, and returns it.
func (p *Plane) AwaitTerm(above int64, within time.Duration) *Node {
	p.t.Helper()
	var found *Node
	p.Await(within, func() error {
		for _, n := range p.nodes {
			if s := n.Status(); !n.killed && s.Acting && s.Term > above {
				found = n
				return nil
			}
		}
		return fmt.Errorf("no node acts as master in a term above %d: %v", above, p.States())
	})
	return found
}
