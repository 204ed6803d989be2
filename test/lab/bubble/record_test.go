package bubble_test

import (
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// record records what happens. What a killed process logs does not count.
type record struct {
	began time.Time

	mu    sync.Mutex // guards the fields below
	run   evidence.Run
	open  map[*process]*evidence.Act   // acts that have not ended
	shown map[*process]rebind.Revision // the last view that was recorded
}

func newRecord(began time.Time) *record {
	return &record{
		began: began, open: make(map[*process]*evidence.Act), shown: make(map[*process]rebind.Revision),
	}
}

// now is the time since the start of the run.
func (r *record) now() time.Duration { return time.Since(r.began) }

// renewed records a renewal that etcd has acknowledged.
func (r *record) renewed(p *process, lease int64, sent time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Leases = append(r.run.Leases, evidence.Lease{Node: p.seat.ID, ID: lease, Sent: sent.Sub(r.began)})
}

// moved records a change of a node's state.
func (r *record) moved(p *process, t coordinator.Transition) {
	status := p.node.Status()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.killed() {
		return
	}
	m := evidence.Move{
		Node: p.seat.ID, At: r.now(), Mode: status.Mode.String(),
		From: t.From.String(), To: t.To.String(), Why: t.Reason,
	}
	if t.To == modes.StateMaster {
		m.Term = max(status.Term, status.PlaneTerm)
	}
	r.run.Moves = append(r.run.Moves, m)
}

// act records that a program has begun to act.
func (r *record) act(p *process, term int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !p.killed() {
		r.open[p] = &evidence.Act{Node: p.seat.ID, Term: term, From: r.now()}
	}
}

// ended records that a process no longer acts, if it did.
func (r *record) ended(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.open[p]; a != nil {
		a.To = r.now()
		r.run.Acts = append(r.run.Acts, *a)
		delete(r.open, p)
	}
}

// did records an operation.
func (r *record) did(op evidence.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Ops = append(r.run.Ops, op)
}

// harmed records a fault.
func (r *record) harmed(f evidence.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Faults = append(r.run.Faults, f)
}

// touched records a revision that was made by hand.
func (r *record) touched(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Hands = append(r.run.Hands, revision)
}

// copied records the content of a node's mirror if it has changed.
func (r *record) copied(p *process, v *rebind.View) {
	r.mu.Lock()
	last := r.shown[p]
	r.shown[p] = v.Revision()
	r.mu.Unlock()
	if last == v.Revision() {
		return
	}
	var held []evidence.Memento
	for m := range v.From("") {
		held = append(held, evidence.Memento{Name: string(m.Name), Payload: string(m.Payload), Modified: int64(m.Modified)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Copies = append(r.run.Copies, evidence.Copy{
		Node: p.seat.ID, At: r.now(), Revision: int64(v.Revision()), Count: len(held), Digest: evidence.Digest(held),
	})
}
