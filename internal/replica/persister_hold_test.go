package replica_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// pausing is a call of Hold or Close under way.
func (l *lab) pausing(call func() error) <-chan error {
	done := make(chan error, 1)
	l.group.Go(func() { done <- call() })
	synctest.Wait()
	return done
}

// wantReturned checks that the call has returned, and what.
func wantReturned(t *testing.T, done <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("returned %v, want %v", err, want)
		}
	default:
		t.Fatal("it has not returned")
	}
}

func wantBlocked(t *testing.T, done <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("returned %v, want it to wait", err)
	default:
	}
}

// Promise: a handover stops taking writes and settles all outcomes; undone, the
// old master goes on as if nothing had been.
func TestPersister_HoldAndResume(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		under := []*attempt{
			l.begin(l.ctx, p, putOp("entity/x", "1")),
			l.begin(l.ctx, p, putOp("entity/y", "1")),
		}
		queued := l.begin(l.ctx, p, putOp("entity/x", "2"))
		hold := l.pausing(func() error { return p.Hold(l.ctx) })
		late := l.begin(l.ctx, p, putOp("entity/z", "1"))
		pass(time.Minute)
		wantBlocked(t, hold)
		late.wantWaiting(t)
		if n := g.held(); n != 2 {
			t.Errorf("%d deltas under way, want the 2 from before", n)
		}
		g.release()
		wantReturned(t, hold, nil)
		for _, a := range under {
			a.want(t, nil)
		}
		settled := l.server.Revision()
		pass(time.Minute)
		queued.wantWaiting(t)
		late.wantWaiting(t)
		if at := l.server.Revision(); at != settled {
			t.Errorf("the store went from revision %d to %d while held", settled, at)
		}
		p.Resume()
		queued.want(t, nil)
		late.want(t, nil)
		l.must(p, putOp("entity/x", "3"))
		l.reads("entity/z", "1")
	})
}

func TestPersister_HoldWithNothingUnderWay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		p.Resume()    // without a hold it changes nothing
		for range 2 { // holding what is held changes nothing
			if err := p.Hold(l.ctx); err != nil {
				t.Fatalf("hold = %v", err)
			}
		}
		a := l.begin(l.ctx, p, putOp("entity/x", "1"))
		pass(time.Minute)
		a.wantWaiting(t)
		p.Resume()
		a.want(t, nil)
	})
}

func TestPersister_HoldThatGivesUpKeepsIntakeClosed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		under := l.begin(l.ctx, p, putOp("entity/x", "1"))
		if err := p.Hold(l.within(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hold = %v, want its deadline", err)
		}
		late := l.begin(l.ctx, p, putOp("entity/y", "1"))
		late.wantWaiting(t)
		g.release()
		under.want(t, nil)
		pass(time.Minute)
		late.wantWaiting(t)
		p.Resume()
		late.want(t, nil)
	})
}

// More callers leave than there are turns: each has to give its turn back.
func TestPersister_HeldCallersLeave(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		if err := p.Hold(l.ctx); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(l.ctx)
		var left []*attempt
		for range 200 {
			left = append(left, l.begin(ctx, p, putOp("entity/x", "1")))
		}
		cancel(errEnd)
		for _, a := range left {
			a.want(t, errEnd)
			if errors.Is(a.err, rebind.ErrUnknown) {
				t.Fatalf("commit = %v, but it was never sent", a.err)
			}
		}
		p.Resume()
		if _, err := p.Commit(l.within(time.Minute), delta(putOp("entity/y", "2"))); err != nil {
			t.Errorf("commit = %v, want it to find a turn", err)
		}
		if m := l.stored("entity/x"); m != nil {
			t.Errorf("stored %q, which was taken back", m.Payload)
		}
	})
}

// Promise: a clean stop loses no acknowledged write and leaves nobody waiting.
func TestPersister_Close(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		under := l.begin(l.ctx, p, putOp("entity/x", "1"))
		queued := l.begin(l.ctx, p, putOp("entity/x", "2"))
		closing := l.pausing(func() error { return p.Close(l.ctx) })
		late := l.begin(l.ctx, p, putOp("entity/y", "1"))
		late.want(t, driver.ErrClosed)
		wantBlocked(t, closing)
		g.release()
		wantReturned(t, closing, nil)
		under.want(t, nil)
		queued.want(t, driver.ErrClosed)
		p.Resume() // a closed persister stays closed
		if _, err := p.Commit(l.ctx, delta(putOp("entity/x", "3"))); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("commit = %v, want ErrClosed", err)
		}
		if err := p.Close(l.ctx); err != nil {
			t.Errorf("closing twice = %v", err)
		}
		if m := l.stored("entity/x"); string(m.Payload) != "1" || m.Version != 1 {
			t.Errorf("stored %q in version %d, want the write from before alone", m.Payload, m.Version)
		}
	})
}

func TestPersister_CloseEndsAHold(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		if err := p.Hold(l.ctx); err != nil {
			t.Fatal(err)
		}
		a := l.begin(l.ctx, p, putOp("entity/x", "1"))
		a.wantWaiting(t)
		if err := p.Close(l.ctx); err != nil {
			t.Errorf("close = %v", err)
		}
		a.want(t, driver.ErrClosed)
	})
}

func TestPersister_CloseThatGivesUpStillRefuses(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		under := l.begin(l.ctx, p, putOp("entity/x", "1"))
		queued := l.begin(l.ctx, p, putOp("entity/x", "2"))
		if err := p.Close(l.within(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close = %v, want its deadline", err)
		}
		under.wantWaiting(t)
		g.release()
		under.want(t, nil)
		queued.want(t, driver.ErrClosed)
	})
}

func TestPersister_CloseLeavesNothingRunning(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		running := goleak.IgnoreCurrent()
		p := l.persister()
		l.must(p, putOp("entity/x", "1"))
		if err := p.Close(l.ctx); err != nil {
			t.Fatal(err)
		}
		if err := goleak.Find(running); err != nil {
			t.Errorf("the term lasts and the persister is closed: %v", err)
		}
	})
}
