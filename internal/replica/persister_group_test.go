package replica_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

func entity(i int) rebind.Name { return rebind.Name(fmt.Sprintf("entity/%d", i)) }

// commitMany has n writers commit to mementos of their own while the gate is closed.
func (l *lab) commitMany(p *replica.Persister, n int) []*attempt {
	attempts := make([]*attempt, n)
	for i := range attempts {
		attempts[i] = l.begin(l.ctx, p, putOp(entity(i), "v"))
	}
	return attempts
}

// Deltas that come while others are under way go together, each with a receipt of
// its own; the transactions under way are bounded.
func TestPersister_DeltasGoTogether(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		const writers = 300
		g := l.gate()
		p := l.through(g)
		attempts := l.commitMany(p, writers)
		under := g.held()
		if under < 1 || under > 16 {
			t.Errorf("%d transactions under way, want a few", under)
		}
		before := l.server.Revision()
		g.release()
		l.group.Wait()
		for i, a := range attempts {
			a.want(t, nil)
			if m := l.stored(entity(i)); m == nil || m.Modified != a.receipt.Revision {
				t.Fatalf("%s is %+v, its writer was told revision %d", entity(i), m, a.receipt.Revision)
			}
		}
		// What waited makes as few transactions as have room for it.
		most := rebind.Revision(under + (writers-under+driver.MaxOps-1)/driver.MaxOps)
		if took := l.server.Revision() - before; took > most || g.most > under {
			t.Errorf("%d transactions, %d of them together, want at most %d and %d", took, g.most, most, under)
		}
	})
}

// A precondition that is not met fails its own delta only.
func TestPersister_OneConflictLeavesTheOthers(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		first := l.commitMany(p, 8)
		good := l.begin(l.ctx, p, putOp("policy/a", "1"))
		bad := l.begin(l.ctx, p, putOp("policy/b", "1"), expecting(7, putOp("policy/c", "1")))
		also := l.begin(l.ctx, p, expecting(rebind.Absent, putOp("policy/d", "1")), putOp("policy/e", "1"))
		g.release()
		l.group.Wait()
		for _, a := range append(first, good, also) {
			a.want(t, nil)
		}
		bad.want(t, rebind.ErrConflict)
		var conflict *driver.ConflictError
		if !errors.As(bad.err, &conflict) || conflict.Op != 1 || conflict.Name != "policy/c" {
			t.Errorf("conflict = %+v, want that of operation 1 of its own delta", conflict)
		}
		if m := l.stored("policy/b"); m != nil {
			t.Error("half of a delta that failed was written")
		}
		if l.stored("policy/d") == nil || l.stored("policy/e") == nil {
			t.Error("a delta beside the one that failed was not written")
		}
	})
}

// What the store refuses as a whole is tried alone: a full store still deletes.
func TestPersister_WhatIsRefusedTogetherIsTriedAlone(t *testing.T) {
	for _, refusal := range []error{driver.ErrStoreFull, driver.ErrTooLarge} {
		inLab(t, func(t *testing.T, l *lab) {
			l.load()
			l.put("policy/old", "1")
			l.nudge()
			g := l.gate()
			picky := writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
				for _, w := range writes {
					if w.Name == "policy/big" {
						return 0, refusal
					}
				}
				return l.term.Commit(ctx, writes)
			})
			g.to = picky
			p := l.through(g)
			l.commitMany(p, 8)
			remove := l.begin(l.ctx, p, deleteOp("policy/old"))
			big := l.begin(l.ctx, p, putOp("policy/big", "1"))
			small := l.begin(l.ctx, p, putOp("policy/small", "1"))
			g.release()
			l.group.Wait()
			remove.want(t, nil)
			small.want(t, nil)
			big.want(t, refusal)
		})
	}
}

// An outcome that is not known is told to all who share it, and an operation id
// finds each of them again.
func TestPersister_GroupWithALostAnswer(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		attempts := l.commitMany(p, 60)
		l.server.LoseAnswer("writer", func() {})
		g.release()
		l.group.Wait()
		for i, a := range attempts {
			a.want(t, nil)
			if m := l.stored(entity(i)); m == nil || m.Version != 1 {
				t.Errorf("%s = %+v, want it written once", entity(i), m)
			}
		}
	})
}

// Callers beyond what may wait are held up, and lose nothing by leaving.
func TestPersister_BoundsWhatWaits(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		const writers = 6000
		ctx, cancel := context.WithCancelCause(l.ctx)
		var mu sync.Mutex
		var left int
		for i := range writers {
			l.group.Go(func() {
				_, err := p.Commit(ctx, delta(putOp(entity(i), "v")))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, errEnd) && !errors.Is(err, rebind.ErrUnknown) {
					left++
				}
			})
		}
		under := g.held()
		cancel(errEnd)
		synctest.Wait() // all who can leave have left
		g.release()
		l.group.Wait()
		if left < writers-under*driver.MaxOps {
			t.Errorf("%d of %d left knowing that nothing was written", left, writers)
		}
		if n := l.mirror.View().Len(); n != writers-left && n > under*driver.MaxOps {
			t.Errorf("%d mementos although %d writers left", n, left)
		}
		l.must(p, putOp("policy/next", "1"))
	})
}

// A master takes its own writes in when they are stored, without the watch, and
// comes to the same as a mirror that follows the watch.
func TestMirror_AdvanceComesToWhatTheWatchBrings(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		l.server.Cut("reader")
		l.must(p, putOp("entity/x", "1"), putOp("entity/y", "1"))
		l.must(p, putOp("entity/x", "2"), deleteOp("entity/y"))
		l.must(p, rebind.Op{Name: "entity/z", Put: &rebind.Content{Parent: "entity/x", Schema: 3, ContentType: "text/plain", Payload: []byte("z")}})
		before := l.mirror.View()
		l.server.Heal("reader")
		pass(time.Minute)
		l.must(p, putOp("policy/later", "1"))
		for m := range before.From("") {
			if stored := l.stored(m.Name); stored == nil || gocmp.Diff(stored, m) != "" {
				t.Errorf("%s: the view has %+v, the store %+v", m.Name, m, stored)
			}
			again, err := l.mirror.View().Get(m.Name)
			if err != nil || gocmp.Diff(m, again) != "" {
				t.Errorf("%s: %+v after the watch came, %v, want %+v", m.Name, again, err, m)
			}
		}
		if before.Len() != 2 || l.mirror.View().Len() != 3 || l.mirror.View().Bytes() != before.Bytes()+int64(len("policy/later")+1) {
			t.Errorf("%d mementos of %d bytes, then %d of %d", before.Len(), before.Bytes(), l.mirror.View().Len(), l.mirror.View().Bytes())
		}
	})
}

// The caller's bytes stay the caller's.
func TestMirror_AdvanceKeepsNoBytesOfTheCaller(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		payload := []byte("before")
		l.must(p, rebind.Op{Name: "entity/x", Put: &rebind.Content{Payload: payload}})
		copy(payload, "after!")
		l.reads("entity/x", "before")
	})
}
