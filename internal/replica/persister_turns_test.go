package replica_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Who waits longest comes first: a delta over several mementos is not passed for
// ever by those over one of them.
func TestPersister_DeltaOverSeveralMementosIsNotStarved(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		slow := writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			<-time.After(10 * time.Millisecond)
			return l.term.Commit(ctx, writes)
		})
		p := l.through(slow)
		ctx := l.within(5 * time.Second)
		for i := range 8 {
			l.group.Go(func() {
				for ctx.Err() == nil {
					_, _ = p.Commit(l.ctx, rebind.Delta{Ops: []rebind.Op{putOp(rebind.Name(fmt.Sprintf("entity/%d", i%2)), "v")}})
				}
			})
		}
		pass(100 * time.Millisecond)
		both := l.begin(l.ctx, p, putOp("entity/0", "both"), putOp("entity/1", "both"))
		pass(time.Second)
		both.want(t, nil)
		l.group.Wait()
	})
}

// Callers who wait for one memento take no room from the others.
func TestPersister_OneHotMementoHoldsUpNobodyElse(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		for range 300 {
			l.begin(l.ctx, p, putOp("entity/hot", "v"))
		}
		if n := g.held(); n != 1 {
			t.Fatalf("%d deltas under way, want one", n)
		}
		l.begin(l.ctx, p, putOp("entity/cool", "v"))
		if n := g.held(); n != 2 {
			t.Errorf("%d deltas under way, want the one of another memento too", n)
		}
	})
}

// A caller who has left before the delta's turn came gets nothing written.
func TestPersister_EndedContextWritesNothing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.through(l.term)
		gone, cancel := context.WithCancelCause(l.ctx)
		cancel(errEnd)
		for i := range 50 {
			_, err := p.Commit(gone, rebind.Delta{Ops: []rebind.Op{putOp(rebind.Name(fmt.Sprintf("entity/%d", i)), "v")}})
			if !errors.Is(err, errEnd) || errors.Is(err, rebind.ErrUnknown) {
				t.Fatalf("commit = %v, want the cause, and nothing in doubt", err)
			}
		}
		synctest.Wait()
		if n := l.mirror.View().Len(); n != 0 {
			t.Errorf("%d mementos were written all the same", n)
		}
		if _, err := p.Commit(l.ctx, rebind.Delta{Ops: []rebind.Op{putOp("entity/x", "v")}}); err != nil {
			t.Errorf("the next caller is refused: %v", err)
		}
	})
}

// Deleting what is not there changes nothing, so there is nothing to wait for.
func TestPersister_DeletingWhatIsAbsentDoesNotWaitForTheMirror(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.through(l.term)
		pass(time.Second) // just confirmed: the next time is a second away
		l.nudge()
		began := time.Now()
		if _, err := p.Commit(l.ctx, rebind.Delta{Ops: []rebind.Op{deleteOp("entity/none")}}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("took %s", took)
		}
	})
}
