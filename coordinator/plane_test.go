package coordinator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const ttl = 6 * time.Second

// lab is a plane of nodes on an in-memory store, in virtual time.
type lab struct {
	t      *testing.T
	plane  *coordtest.Plane
	server *memstore.Server
	nodes  map[string]*running // by the name of their connection
}

// running is a node at work.
type running = coordtest.Node

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

// inLab runs a test in a bubble of virtual time.
func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := memstore.New(ttl)
		test(t, &lab{t: t, plane: coordtest.On(t, coordtest.Memory(server)), server: server, nodes: make(map[string]*running)})
	})
}

// start runs a node; change adjusts its configuration.
func (l *lab) start(id string, mode modes.Mode, change ...func(*coordinator.Config)) *running {
	l.t.Helper()
	return l.startAs(id, id, mode, change...)
}

// startAs runs a node that reaches the store by a connection of its own.
func (l *lab) startAs(id, connection string, mode modes.Mode, change ...func(*coordinator.Config)) *running {
	l.t.Helper()
	cfg := coordinator.Config{ID: id, Mode: mode, Observe: func(coordinator.Transition) {}}
	for _, c := range change {
		c(&cfg)
	}
	l.nodes[connection] = l.plane.StartAs(connection, cfg)
	return l.nodes[connection]
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
