package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
	"github.com/coordinator-ha/coordinator/rebind/coalesce"
)

// coalescing returns a coalescer that writes through the gate, and runs until the
// lab ends.
func (l *lab) coalescing(g *gate) (*coalesce.Writer, <-chan error) {
	c := coalesce.New(l.through(g))
	ended := make(chan error, 1)
	l.group.Go(func() { ended <- c.Run(l.ctx) })
	return c, ended
}

func set(t *testing.T, c *coalesce.Writer, name rebind.Name, payload string) {
	t.Helper()
	if err := c.Set(t.Context(), name, &rebind.Content{Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

// Promise: of many changes of a memento the latest is stored, in few writes, and
// Flush returns when it is.
func TestCoalescer_StoresTheLatest(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		c, _ := l.coalescing(g)
		set(t, c, "entity/first", "1")
		synctest.Wait() // it is under way while the others come
		for i := range 1000 {
			set(t, c, "entity/hot", fmt.Sprint(i))
			set(t, c, entity(i%10), fmt.Sprint(i))
		}
		if err := c.Set(l.ctx, "entity/first", nil); err != nil {
			t.Fatal(err)
		}
		flushed := l.pausing(func() error { return c.Flush(l.ctx) })
		wantBlocked(t, flushed)
		if l.stored("entity/hot") != nil {
			t.Fatal("stored before the gate was opened: the test cannot fail")
		}
		g.release()
		wantReturned(t, flushed, nil)
		if m := l.stored("entity/hot"); m == nil || string(m.Payload) != "999" || m.Version > 2 {
			t.Errorf("entity/hot = %+v, want the last of 1000 values in one write or two", m)
		}
		if l.stored("entity/first") != nil {
			t.Error("what was deleted last is there")
		}
	})
}

// Promise: Flush never returns before what was set before it is in the store, while
// others go on setting.
func TestCoalescer_FlushUnderConstantChange(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		slow := l.gate()
		slow.to = writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			<-time.After(10 * time.Millisecond)
			return l.term.Commit(ctx, writes)
		})
		slow.release()
		c, _ := l.coalescing(slow)
		busy, stop := context.WithCancel(l.ctx)
		l.group.Go(func() {
			for i := 0; busy.Err() == nil; i++ {
				_ = c.Set(busy, entity(i%50), &rebind.Content{Payload: []byte("noise")})
				<-time.After(time.Millisecond)
			}
		})
		for i := range 20 {
			set(t, c, "policy/mine", fmt.Sprint(i))
			if err := c.Flush(l.within(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if m := l.stored("policy/mine"); m == nil || string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("after Flush the store has %+v, want %d", m, i)
			}
		}
		stop()
		pass(time.Second) // what is under way ends before the lab does
	})
}

// One memento that cannot be stored is told of, once, and keeps none of the others.
func TestCoalescer_TellsWhatCannotBeStored(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		c, _ := l.coalescing(g)
		set(t, c, "entity/first", "1")
		synctest.Wait()
		set(t, c, "entity/good", "1")
		set(t, c, "entity/huge", strings.Repeat("x", 2<<20))
		set(t, c, "entity/fine", "1")
		g.release()
		err := c.Flush(l.ctx)
		if !errors.Is(err, driver.ErrTooLarge) || !strings.Contains(err.Error(), "entity/huge") {
			t.Errorf("Flush = %v, want that entity/huge is too large", err)
		}
		if l.stored("entity/good") == nil || l.stored("entity/fine") == nil || l.stored("entity/huge") != nil {
			t.Error("not all but the one that is too large were stored")
		}
		if err := c.Flush(l.ctx); err != nil {
			t.Errorf("second Flush = %v, want it told once", err)
		}
	})
}

// A store that is away is tried again; a term that is over is not.
func TestCoalescer_StoreAwayAndTermOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		away := 3
		g := l.gate()
		g.to = writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			if away--; away >= 0 {
				return 0, rebind.ErrUnavailable
			}
			return l.term.Commit(ctx, writes)
		})
		g.release()
		c, ended := l.coalescing(g)
		set(t, c, "entity/x", "1")
		if err := c.Flush(l.within(time.Minute)); err != nil || l.stored("entity/x") == nil {
			t.Fatalf("Flush = %v over a store that was away, stored %v", err, l.stored("entity/x"))
		}
		l.server.DeleteTerm()
		pass(time.Second)
		set(t, c, "entity/x", "2")
		if err := <-ended; !errors.Is(err, driver.ErrClosed) && !errors.Is(err, driver.ErrFenced) {
			t.Errorf("Run = %v, want that the term is over", err)
		}
		if err := c.Flush(l.within(time.Second)); err == nil {
			t.Error("Flush says that a write after the term is stored")
		}
	})
}

func TestCoalescer_BoundsWhatWaits(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		c, _ := l.coalescing(l.gate())
		ctx := l.within(time.Second)
		var err error
		n := 0
		for ; err == nil && n < 20_000; n++ {
			err = c.Set(ctx, entity(n), &rebind.Content{})
		}
		if err == nil || n < 10_000 {
			t.Errorf("%d mementos wait, error %v, want a bound", n, err)
		}
	})
}
