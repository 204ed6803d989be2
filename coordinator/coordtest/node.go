package coordtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
)

// Node is a node at work and the faults of its process. A node that was stopped or killed
// can be started again: [Plane.Start] with the same id returns another Node.
type Node struct {
	*coordinator.Node

	t          testing.TB
	plane      *Plane
	name       string
	connection string
	link       *faultyStore
	cancel     context.CancelFunc
	wait       func() error
	killed     bool

	mu   sync.Mutex // guards the field below
	seen []coordinator.Transition
}

// Name is the name under which the node was started.
func (n *Node) Name() string { return n.name }

// Stop ends the node in order, as a signal to its process does, and returns what Run
// returned. It blocks until then.
func (n *Node) Stop() error {
	n.cancel()
	return n.Wait()
}

// Wait waits until the node ends by itself, and returns what Run returned.
func (n *Node) Wait() error { return n.wait() }

// Kill ends the node as the end of its process would: nothing more of it reaches the
// store, and its lease lapses a TTL after its last renewal. The context of its program
// ends, since goroutines cannot be killed; the program can write nothing more. It does
// not block.
func (n *Node) Kill() {
	n.killed = true
	n.plane.store.Cut(n.connection, true)
	n.link.kill()
	n.cancel()
}

// Freeze has the node stand still as a process that is suspended does: it asks the store
// nothing, hears nothing of it, does not renew its lease, and does not learn that its
// time is over, until [Node.Thaw]. Its program runs on, and whatever it asks of the node
// that needs the store waits until then.
func (n *Node) Freeze() {
	n.link.freeze()
	n.plane.store.Cut(n.connection, true)
}

// Thaw ends [Node.Freeze].
func (n *Node) Thaw() {
	if n.link.thaw() && !n.killed {
		n.plane.store.Cut(n.connection, false)
	}
}

// Partition has nothing pass between the node and the store, in either direction, until
// [Node.Heal]. The node notices what a process would: calls go unanswered, and the lease
// is not renewed.
func (n *Node) Partition() { n.plane.store.Cut(n.connection, true) }

// Heal ends [Node.Partition].
func (n *Node) Heal() {
	if !n.killed {
		n.plane.store.Cut(n.connection, false)
	}
}

// Expire ends the node's lease at once, as the store does when it was not renewed for a
// TTL. The node learns of it from the store.
func (n *Node) Expire() { n.plane.store.Expire(n.ID()) }

// OnCall has f called before each call of a kind that the node makes to the store. An
// error of f is the answer, and the call has no effect. nil ends it.
func (n *Node) OnCall(call memstore.Call, f func() error) { n.link.onCall(call, f) }

// LoseAnswer has the next call of a kind take effect and its answer lost. The node is told
// that the outcome is unknown. The call is one of the writes of a term, such as
// [memstore.CallCommit], or, on a store in memory, [memstore.CallClaim], the transaction
// that begins a term.
func (n *Node) LoseAnswer(call memstore.Call) {
	n.t.Helper()
	m, ok := n.plane.store.(memory)
	switch {
	case call != memstore.CallClaim:
		n.link.answerOnce(call, answer{lost: true})
	case ok:
		m.LoseTerm(n.connection)
	default:
		n.t.Fatal("this store cannot lose the answer of the transaction that begins a term")
	}
}

// DelayAnswer has the next call of a kind take effect at once and its answer arrive late.
// A caller that does not wait for so long is told that the outcome is unknown. The call
// is one of the writes of a term.
func (n *Node) DelayAnswer(call memstore.Call, by time.Duration) {
	n.link.answerOnce(call, answer{late: by})
}

// Transitions returns the changes of the node's state so far, oldest first.
func (n *Node) Transitions() []coordinator.Transition {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

// AwaitState waits until the node is in a state and, if the state is that of a candidate,
// until it stands for election.
func (n *Node) AwaitState(state modes.State, within time.Duration) {
	n.t.Helper()
	n.plane.Await(within, func() error {
		s := n.Status()
		if s.State != state || state.Electable() && !s.InElection {
			return fmt.Errorf("%s is %s, in the election: %t; want %s", n.name, s.State, s.InElection, state)
		}
		return nil
	})
}
