package coordinator_test

import (
	"context"
	"fmt"
	"strings"
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
	"github.com/coordinator-ha/coordinator/rebind"
)

const ttl = 6 * time.Second

// lab is a plane of nodes on an in-memory store, in virtual time.
type lab struct {
	t      *testing.T
	server *memstore.Server
	nodes  map[string]*running
	wrap   func(connection string, s driver.Store) driver.Store // or nil
}

// master returns the one node that is MASTER.
func (l *lab) master() *running {
	l.t.Helper()
	var found *running
	for id, n := range l.nodes {
		if n.Status().State == modes.StateMaster {
			if found != nil {
				l.t.Fatalf("two masters: %v", l.states())
			}
			found = l.nodes[id]
		}
	}
	if found == nil {
		l.t.Fatalf("no master: %v", l.states())
	}
	return found
}

// running is a node at work.
type running struct {
	*coordinator.Node
	stop func() error // ends it and returns what Run returned
	wait func() error // returns what Run returned

	mu  sync.Mutex // guards the field below
	saw []coordinator.Transition
}

func (r *running) transitions() []coordinator.Transition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]coordinator.Transition(nil), r.saw...)
}

// inLab runs a test in a bubble of virtual time.
func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, server: memstore.New(ttl), nodes: make(map[string]*running)}
		defer l.close() // not a clean-up: those run outside the bubble
		test(t, l)
	})
}

func (l *lab) close() {
	for id := range l.nodes {
		l.server.Heal(id)
	}
	for _, n := range l.nodes {
		_ = n.stop()
	}
	l.server.Close()
}

// start runs a node; change adjusts its configuration.
func (l *lab) start(id string, mode modes.Mode, change ...func(*coordinator.Config)) *running {
	l.t.Helper()
	return l.startAs(id, id, mode, change...)
}

// startAs runs a node that reaches the store by a connection of its own.
func (l *lab) startAs(id, connection string, mode modes.Mode, change ...func(*coordinator.Config)) *running {
	l.t.Helper()
	r := &running{}
	cfg := coordinator.Config{
		ID: id, Plane: "p", URI: "http://" + id, Version: "1.0.0", Mode: mode,
		Logger: zaptest.NewLogger(l.t, zaptest.Level(zap.InfoLevel)),
		Observe: func(t coordinator.Transition) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.saw = append(r.saw, t)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	var store driver.Store = l.server.Node(connection)
	if l.wrap != nil {
		store = l.wrap(connection, store)
	}
	n, err := coordinator.New(cfg, store)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Node = n
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	r.wait = sync.OnceValue(func() error { return <-done })
	r.stop = func() error { cancel(); return r.wait() }
	l.nodes[connection] = r
	return r
}

// pass lets virtual time pass, and everything happen that happens in it.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// settle lets everything happen that does not wait for a lease to lapse.
func settle() { pass(2 * time.Second) }

func (l *lab) states() map[string]modes.State {
	states := make(map[string]modes.State)
	for id, n := range l.nodes {
		states[id] = n.Status().State
	}
	return states
}

func (l *lab) want(states map[string]modes.State) {
	l.t.Helper()
	if got := l.states(); fmt.Sprint(got) != fmt.Sprint(states) {
		l.t.Fatalf("states = %v, want %v", got, states)
	}
}

// changeMode asks for a mode and wants the answer at once.
func changeMode(t *testing.T, n *running, to modes.Mode) (coordinator.ModeChange, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return n.ChangeMode(ctx, to)
}

func put(t *testing.T, n *running, name, payload string) rebind.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := n.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: rebind.Name(name), Put: &rebind.Content{Payload: []byte(payload)}}}})
	if err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
	return r
}

func contains(text, part string) bool { return strings.Contains(text, part) }
