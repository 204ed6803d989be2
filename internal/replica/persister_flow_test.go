package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// writeFunc is a Writer for what the in-memory store cannot show.
type writeFunc func(ctx context.Context, writes []driver.Write) (rebind.Revision, error)

// Commit implements [driver.Writer].
func (f writeFunc) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	return f(ctx, writes)
}

// gate is a Writer that holds every delta until it is opened, and sees who is in
// it together.
type gate struct {
	to      driver.Writer
	open    chan struct{}
	release func() // opens it; may be called again

	mu      sync.Mutex // guards the fields below
	inside  map[rebind.Name]int
	now     int
	most    int
	entered int
	ops     int
	doubled []rebind.Name // mementos that two deltas touched at a time
}

// gate returns one before the lab's term, which opens at the latest when the test
// ends.
func (l *lab) gate() *gate {
	g := &gate{to: l.term, open: make(chan struct{}), inside: make(map[rebind.Name]int)}
	g.release = sync.OnceFunc(func() { close(g.open) })
	l.gates = append(l.gates, g)
	return g
}

func (g *gate) enter(writes []driver.Write, step int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += step
	g.most = max(g.most, g.now)
	if step > 0 {
		g.entered++
		g.ops += len(writes)
	}
	for _, w := range writes {
		if g.inside[w.Name] += step; g.inside[w.Name] > 1 {
			g.doubled = append(g.doubled, w.Name)
		}
	}
}

func (g *gate) held() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

// Commit implements [driver.Writer].
func (g *gate) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	g.enter(writes, 1)
	defer g.enter(writes, -1)
	<-g.open
	return g.to.Commit(ctx, writes)
}

func TestPersister_WritersOfOneMementoTakeTurns(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		for i := range 60 {
			// Two neighbours and a common one: overlaps of several kinds.
			ops := []rebind.Op{putOp(rebind.Name("entity/"+strconv.Itoa(i%5)), "v"), putOp(rebind.Name("entity/"+strconv.Itoa(i%5+1)), "v")}
			if i%7 == 0 {
				ops = append(ops, putOp("policy/all", "v"))
			}
			l.begin(l.ctx, p, ops...)
		}
		if n := g.held(); n < 1 || n > 3 {
			t.Errorf("%d deltas under way, want those that touch nothing in common", n)
		}
		g.release()
		l.group.Wait()
		if len(g.doubled) != 0 || g.ops < 60*2 {
			t.Errorf("%d operations, and two at a time touched %v", g.ops, g.doubled)
		}
		if m := l.stored("policy/all"); m == nil || m.Version != 9 {
			t.Errorf("policy/all is %+v, want it put 9 times", m)
		}
	})
}

func TestPersister_NextWriterWaitsForTheMirrorToo(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		g.release()
		p := l.through(g)
		l.server.Cut("reader")
		l.nudge() // the mirror has not seen this, so it cannot take the write in by itself
		first := l.begin(l.ctx, p, putOp("entity/x", "1"))
		second := l.begin(l.ctx, p, putOp("entity/x", "2"))
		pass(time.Minute)
		if g.held() != 0 || g.entered != 1 {
			t.Errorf("%d deltas sent, want only the first while the mirror is behind", g.entered)
		}
		l.server.Heal("reader")
		first.want(t, nil)
		second.want(t, nil)
		l.reads("entity/x", "2")
	})
}

// Promise: the same transaction sent twice applies once; a lost answer is found.
func TestPersister_LostAnswer(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		l.must(p, putOp("entity/x", "1"))
		before := l.server.Revision()
		l.server.LoseAnswer("writer", func() {})
		r := l.must(p, putOp("entity/x", "2"))
		if m := l.stored("entity/x"); m.Version != 2 || r.Revision != before+1 || l.server.Revision() != before+1 {
			t.Errorf("version %d at %d, store at %d, want the write applied once", m.Version, r.Revision, l.server.Revision())
		}
		l.reads("entity/x", "2")
	})
}

// A deletion whose answer was lost is found to be made, and at which revision it was
// is not: the mirror must not take another revision for that one.
func TestPersister_LostAnswerToADeletion(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		l.must(p, putOp("entity/x", "1"))
		l.server.LoseAnswer("writer", func() {
			pass(time.Millisecond) // until the mirror has the deletion
			l.server.Stall("reader", true)
			l.put("entity/y", "2")
			l.group.Go(func() {
				<-time.After(time.Second)
				l.server.Stall("reader", false)
			})
		})
		l.must(p, deleteOp("entity/x"))
		l.group.Wait()
		pass(5 * time.Second)
		l.reads("entity/x", "")
		l.reads("entity/y", "2")
	})
}

func TestPersister_PassesOnWhatTheWriterSays(t *testing.T) {
	for _, want := range []error{rebind.ErrUnknown, driver.ErrStoreFull, rebind.ErrUnavailable, driver.ErrTooLarge, driver.ErrFenced} {
		inLab(t, func(t *testing.T, l *lab) {
			l.load()
			var sent int
			p := l.through(writeFunc(func(context.Context, []driver.Write) (rebind.Revision, error) {
				sent++
				return 0, fmt.Errorf("the store: %w", want)
			}))
			if _, err := p.Commit(l.ctx, delta(putOp("entity/x", "1"))); !errors.Is(err, want) || sent != 1 {
				t.Errorf("commit = %v after %d sendings, want %v after one", err, sent, want)
			}
		})
	}
}

// A stranger whom only the fence allows can change a memento between the mirror's
// view and the write.
func TestPersister_ForeignWriteUnderIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		meddle := 3
		p := l.through(writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			if meddle > 0 {
				meddle--
				l.put("entity/x", "foreign "+strconv.Itoa(meddle))
			}
			return l.term.Commit(ctx, writes)
		}))
		r := l.must(p, putOp("entity/x", "mine"), putOp("entity/y", "mine"))
		if r.Replaced[0] != r.Revision-1 || r.Replaced[1] != 0 {
			t.Errorf("receipt = %+v, want it to name the last foreign write", r)
		}
		l.reads("entity/x", "mine")
		l.reads("entity/y", "mine")

		meddle = 1
		var conflict *driver.ConflictError
		_, err := p.Commit(l.ctx, delta(expecting(r.Revision, putOp("entity/x", "late"))))
		if !errors.As(err, &conflict) || conflict.Actual != l.server.Revision() {
			t.Errorf("commit = %v, want a conflict with the foreign write", err)
		}
		synctest.Wait()
		l.reads("entity/x", "foreign 0")
	})
}

func TestPersister_GivesUpAgainstAStrangerWhoNeverStops(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.through(writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			l.put("entity/x", "foreign")
			return l.term.Commit(ctx, writes)
		}))
		if _, err := p.Commit(l.ctx, delta(putOp("entity/x", "mine"))); !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("commit = %v, want ErrConflict", err)
		}
		synctest.Wait()
		l.reads("entity/x", "foreign")
	})
}

// Promise: a write whose caller gave up waiting is of unknown outcome, and lands.
func TestPersister_CallerLeaves(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		ctx, cancel := context.WithCancelCause(l.ctx)
		under := l.begin(ctx, p, putOp("entity/x", "1"))
		behind := l.begin(ctx, p, putOp("entity/x", "2"))
		next := l.begin(l.ctx, p, putOp("entity/x", "3"), putOp("entity/y", "3"))
		cancel(errEnd)
		under.want(t, rebind.ErrUnknown)
		under.want(t, errEnd)
		behind.want(t, errEnd)
		if errors.Is(behind.err, rebind.ErrUnknown) {
			t.Errorf("commit = %v, but it was never sent", behind.err)
		}
		next.wantWaiting(t) // the first one's outcome is open
		g.release()
		l.group.Wait()
		next.want(t, nil)
		if m := l.stored("entity/x"); m.Version != 2 || string(m.Payload) != "3" {
			t.Errorf("stored %q in version %d, want the first write and the third", m.Payload, m.Version)
		}
	})
}

// The writer settles outcomes for as long as the term lasts, whoever has left.
func TestPersister_WriterWorksUnderTheTermsContext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		var given context.Context
		p := l.through(writeFunc(func(ctx context.Context, _ []driver.Write) (rebind.Revision, error) {
			given = ctx
			<-ctx.Done()
			return 0, driver.ErrFenced
		}))
		ctx, cancel := context.WithCancelCause(l.ctx)
		a := l.begin(ctx, p, putOp("entity/x", "1"))
		cancel(errEnd)
		a.want(t, rebind.ErrUnknown)
		if given.Err() != nil {
			t.Errorf("the writer's context ended with its caller's: %v", context.Cause(given))
		}
		l.server.Revoke("writer")
		synctest.Wait()
		if cause := context.Cause(given); !errors.Is(cause, driver.ErrTermOver) {
			t.Errorf("the writer's context ended by %v, want the end of the term", cause)
		}
	})
}

// What was not sent when the term ended says so: it may be tried elsewhere.
func TestPersister_NothingIsSentAfterTheTerm(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		g := l.gate()
		p := l.through(g)
		under := l.begin(l.ctx, p, putOp("entity/x", "late"))
		waiting := l.begin(l.ctx, p, putOp("entity/x", "later"))
		l.server.Revoke("writer")
		synctest.Wait()
		if l.term.Context().Err() == nil {
			t.Fatal("the term lasts")
		}
		waiting.want(t, driver.ErrClosed)
		waiting.want(t, driver.ErrTermOver)
		g.release()
		l.group.Wait()
		under.want(t, driver.ErrClosed)
		if _, err := p.Commit(l.ctx, delta(putOp("entity/x", "latest"))); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("commit = %v, want ErrClosed", err)
		}
		if m := l.stored("entity/x"); m != nil {
			t.Errorf("stored %q after the term", m.Payload)
		}
	})
}
