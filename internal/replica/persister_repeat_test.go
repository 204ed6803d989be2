package replica_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// named is a delta that its caller may send again.
func named(id string, ops ...rebind.Op) rebind.Delta { return rebind.Delta{ID: id, Ops: ops} }

// mustNamed commits one and fails the test if that fails.
func (l *lab) mustNamed(p *replica.Persister, d rebind.Delta) rebind.Receipt {
	l.t.Helper()
	r, err := p.Commit(l.ctx, d)
	if err != nil {
		l.t.Fatalf("commit %s: %v", d.ID, err)
	}
	return r
}

// isFirst checks that a receipt is that of a delta stored before, and that nothing
// was written for it.
func (l *lab) isFirst(got rebind.Receipt, at, head rebind.Revision, replaced ...rebind.Revision) {
	l.t.Helper()
	if diff := gocmp.Diff(rebind.Receipt{Revision: at, Replaced: replaced}, got); diff != "" {
		l.t.Errorf("receipt of the repeat (-want +got):\n%s", diff)
	}
	if now := l.server.Revision(); now != head {
		l.t.Errorf("store is at revision %d, want %d: nothing written", now, head)
	}
}

func TestPersister_RepeatGetsTheFirstResult(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		create := named("one", expecting(rebind.Absent, putOp("entity/x", "1")))
		created := l.mustNamed(p, create)
		l.isFirst(l.mustNamed(p, create), created.Revision, created.Revision, 0)

		replace := named("two", expecting(created.Revision, putOp("entity/x", "2")))
		replaced := l.mustNamed(p, replace)
		l.isFirst(l.mustNamed(p, replace), replaced.Revision, replaced.Revision, -1)
		l.reads("entity/x", "2")

		// The memento carries it no longer, so this is a new one.
		if _, err := p.Commit(l.ctx, create); err == nil {
			t.Error("what was written over is taken for a repeat")
		}
		again := named("one", putOp("entity/x", "1"))
		if r := l.mustNamed(p, again); r.Replaced[0] != replaced.Revision {
			t.Errorf("receipt %+v, want a write over revision %d", r, replaced.Revision)
		}
		// Deleted, it carries nothing.
		l.must(p, deleteOp("entity/x"))
		if r := l.mustNamed(p, again); r.Replaced[0] != 0 || l.stored("entity/x") == nil {
			t.Errorf("receipt %+v, want it created again", r)
		}
	})
}

// A delta is stored whole, so one memento that carries its id is proof.
func TestPersister_RepeatOfSeveralOperations(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		l.must(p, putOp("entity/b", "0"), putOp("entity/c", "0"), putOp("entity/d", "0"))
		d := named("one", putOp("entity/a", "1"), putOp("entity/b", "1"), deleteOp("entity/c"), putOp("entity/d", "1"))
		first := l.mustNamed(p, d)
		later := l.must(p, putOp("entity/d", "2"))
		l.isFirst(l.mustNamed(p, d), first.Revision, later.Revision, 0, -1, -1, -1)
		l.reads("entity/d", "2")
	})
}

// Promise: however often an operation is sent at once, it is stored once and each
// sender is told the same.
func TestPersister_RepeatsAtOnceAreStoredOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		receipts := make([]rebind.Receipt, 200)
		for i := range receipts {
			l.group.Go(func() {
				var err error
				if receipts[i], err = p.Commit(l.ctx, named("one", putOp("entity/x", "1"))); err != nil {
					t.Errorf("commit %d: %v", i, err)
				}
			})
		}
		l.commitMany(p, 50) // beside them, others go on
		g.release()
		l.group.Wait()
		m := l.stored("entity/x")
		if m.Version != 1 {
			t.Errorf("written %d times", m.Version)
		}
		for i, r := range receipts {
			if diff := gocmp.Diff(rebind.Receipt{Revision: m.Modified, Replaced: []rebind.Revision{0}}, r); diff != "" {
				t.Fatalf("receipt %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

// A sender who was told "unknown" sends it again, while the mirror has not seen yet
// what became of it.
func TestPersister_RepeatOfAnUnknownOutcome(t *testing.T) {
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprintf("applied: %t", applied), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.load()
				doubt := true
				p := l.through(writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
					if !doubt || applied {
						rev, err := l.term.Commit(ctx, writes)
						if err != nil || !doubt {
							return rev, err
						}
					}
					doubt = false
					return 0, rebind.ErrUnknown
				}))
				d := named("one", expecting(rebind.Absent, putOp("entity/x", "1")))
				l.server.Cut("reader")
				if _, err := p.Commit(l.ctx, d); err == nil {
					t.Fatal("the outcome is known")
				}
				var second rebind.Receipt
				l.group.Go(func() { second = l.mustNamed(p, d) })
				synctest.Wait()
				l.server.Heal("reader")
				l.group.Wait()
				m := l.stored("entity/x")
				if m == nil || m.Version != 1 {
					t.Fatalf("stored is %+v, want it written once", m)
				}
				l.isFirst(second, m.Modified, m.Modified, 0)
			})
		})
	}
}

// The next master knows the operation as well: it is in the store.
func TestPersister_RepeatAtAnotherMaster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		first := l.commit(putOp("entity/x", "1")) // as "op", before this mirror was loaded
		l.load()
		l.isFirst(l.mustNamed(l.persister(), named("op", putOp("entity/x", "1"))), first, first, 0)
		l.put("entity/y", "of a stranger")
		synctest.Wait()
		if r := l.mustNamed(l.persister(), named("op", putOp("entity/y", "1"))); r.Replaced[0] <= 0 {
			t.Errorf("receipt %+v, want what a stranger wrote replaced", r)
		}
	})
}
