package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// errand is a delta to commit, and what happens before.
type errand struct {
	lose bool // the answer to a transaction is lost
	snap bool // the mirror's stream breaks
	ops  []rebind.Op
}

func errands(t *rapid.T) []errand {
	names := []rebind.Name{"a/1", "a/2", "a/3", "b/1", "b/2", "b/3"}
	expectations := []rebind.Revision{0, 0, 0, 0, rebind.Absent, rebind.Present, 6, 9}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) errand {
		e := errand{lose: rapid.IntRange(0, 9).Draw(t, "lose") == 0, snap: rapid.IntRange(0, 9).Draw(t, "break") == 0}
		for i, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID[rebind.Name]).Draw(t, "names") {
			op := deleteOp(name)
			if rapid.IntRange(0, 3).Draw(t, "put") > 0 {
				op = putOp(name, fmt.Sprint(i))
			}
			e.ops = append(e.ops, expecting(rapid.SampledFrom(expectations).Draw(t, "expect"), op))
		}
		return e
	}), 1, 40).Draw(t, "errands")
}

// Promise: however deltas go together, each is stored whole or fails alone, by its own
// expectations, as if they had come one after the other: those that share a memento in
// the order in which they came.
func TestPersister_LikeTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := errands(rt)
		together := rapid.IntRange(0, len(all)).Draw(rt, "together") // how many come while none is answered
		var wrong error
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			l.load()
			g := l.gate()
			p := l.through(g)
			attempts := make([]*attempt, len(all))
			for i, e := range all {
				if i == together {
					g.release()
				}
				if e.lose {
					l.server.LoseAnswer("writer", func() {})
				}
				if e.snap {
					l.source.breakWatch(errors.New("connection lost"))
				}
				attempts[i] = l.begin(l.ctx, p, e.ops...)
			}
			g.release()
			l.group.Wait()
			wrong = l.account(all, attempts)
		})
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
}

// account replays what was answered on a plain map, and holds that against the store
// and the mirror.
func (l *lab) account(all []errand, attempts []*attempt) error {
	state := make(model)
	for i, e := range all {
		var due *driver.ConflictError
		for n, op := range e.ops {
			if at := state[op.Name].at; due == nil && !op.Met(at) {
				due = &driver.ConflictError{Op: n, Name: op.Name, Expect: op.Expect, Actual: at}
			}
		}
		a := attempts[i]
		var got *driver.ConflictError
		if due != nil {
			if !errors.As(a.err, &got) || *got != *due {
				return fmt.Errorf("errand %d, %+v: %w, want %w", i, e.ops, a.err, due)
			}
			continue
		}
		if a.err != nil {
			return fmt.Errorf("errand %d, %+v: %w, want it stored", i, e.ops, a.err)
		}
		for n, op := range e.ops {
			if was := state[op.Name].at; a.receipt.Replaced[n] != was {
				return fmt.Errorf("errand %d: %s replaced %d, want %d", i, op.Name, a.receipt.Replaced[n], was)
			}
			if delete(state, op.Name); op.Put != nil {
				state[op.Name] = kept{payload: string(op.Put.Payload), at: a.receipt.Revision}
			}
		}
	}
	for name := range state {
		if m := l.stored(name); m == nil || string(m.Payload) != state[name].payload || m.Modified != state[name].at {
			return fmt.Errorf("the store has %+v of %s, want %+v", m, name, state[name])
		}
	}
	return state.differs(l.mirror.View())
}
