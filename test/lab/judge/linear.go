package judge

import (
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// searchLimit limits the search for an order in the history of one memento.
const searchLimit = 30 * time.Second

// step is one operation on one memento.
type step struct {
	change   *evidence.Change // nil for a read
	read     *evidence.Read   // nil for a write
	revision int64            // of the memento after a put
	doubtful bool             // it may have been refused
}

// content is a memento as clients see it: its modification revision, 0 if it does not
// exist, and its payload.
type content struct {
	modified int64
	payload  string
}

// linearizability judges the history of each memento as its clients saw it.
//
//   - I-6: there is an order of the operations that explains every answer
func (t *trial) linearizability() {
	for name, steps := range t.steps() {
		t.verdict.Histories++
		t.verdict.Linear += len(steps)
		t.ordered(name, steps, searchLimit)
	}
}

// ordered judges one history. A history for which no order is found in time proves nothing.
func (t *trial) ordered(name string, steps []porcupine.Operation, within time.Duration) {
	switch porcupine.CheckOperationsTimeout(register(), steps, within) {
	case porcupine.Illegal:
		t.broken("I-6", 0, "the %d operations on %s have no order that explains their answers", len(steps), name)
	case porcupine.Unknown:
		t.broken(Invalid, 0, "no order of the %d operations on %s is found in %s", len(steps), name, within)
	}
}

// register is the model of a memento: each operation takes effect at one moment between the
// request and the answer.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return content{} },
		Step: func(state, input, _ any) (bool, any) { return state.(content).after(input.(step)) },
	}
}

// after returns whether a step is possible, and the memento after it.
func (c content) after(s step) (bool, any) {
	switch {
	case s.read != nil && !s.read.Found:
		return c.modified == 0, c
	case s.read != nil:
		return c == content{s.read.Modified, s.read.Payload}, c
	case s.change.If != nil && *s.change.If != c.modified:
		return s.doubtful, c
	case s.change.Delete:
		return true, content{}
	default:
		return true, content{s.revision, s.change.Payload}
	}
}

// steps returns the operations on each memento: the writes that were made or may have been
// made, and the reads of the newest value. A write with an unknown outcome may take effect
// at any time after it was sent; it is left out if the store's history shows that it had no
// effect.
func (t *trial) steps() map[string][]porcupine.Operation {
	all := make(map[string][]porcupine.Operation)
	for i := range t.run.Ops {
		op := &t.run.Ops[i]
		sent, answered := int64(op.Sent), int64(op.Answered)
		if op.Outcome == evidence.Unknown {
			answered = math.MaxInt64
		}
		add := func(name string, s step) {
			all[name] = append(all[name], porcupine.Operation{Input: s, Call: sent, Return: answered})
		}
		if op.Outcome == evidence.OK && op.Read != nil && op.Read.Latest {
			add(op.Read.Name, step{read: op.Read})
		}
		revision, made := t.whenMade(op)
		if !made {
			continue
		}
		for j := range op.Changes {
			doubtful := op.Outcome == evidence.Unknown && revision == 0
			add(op.Changes[j].Name, step{change: &op.Changes[j], revision: revision, doubtful: doubtful})
		}
	}
	return all
}

// whenMade returns the revision at which an operation was made, 0 if the store's history
// does not show it, and whether it was made or may have been.
func (t *trial) whenMade(op *evidence.Op) (revision int64, made bool) {
	if op.Outcome != evidence.Unknown {
		return op.Revision, op.Outcome == evidence.OK
	}
	for i := range op.Changes {
		c := &op.Changes[i]
		if !c.Delete {
			at := t.put(c)
			return at, at != 0
		}
		made = made || slices.ContainsFunc(t.history[c.Name], func(v version) bool { return v.deleted && !v.byHand })
	}
	return 0, made
}
