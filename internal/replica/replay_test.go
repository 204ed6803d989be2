package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// replayed collects what a replay tells, as text.
func (l *lab) replayed(after rebind.Revision) (told []string, to rebind.Revision, err error) {
	last := after
	to, err = l.mirror.Replay(l.ctx, after, func(steps []rebind.Changeset) error {
		for _, s := range steps {
			if s.Revision <= last {
				return fmt.Errorf("step %d is told after %d", s.Revision, last)
			}
			last = s.Revision
			for _, c := range s.Changes {
				told = append(told, string(c.Name))
			}
		}
		return nil
	})
	return told, to, err
}

// Promise: who comes from before what a mirror keeps is told of everything, once and
// in order, and goes on with its steps without a gap.
func TestReplay_ReachesTheSteps(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		from := l.server.Revision()
		l.put("entity/a", "1")
		l.put("entity/b", "1")
		l.nudge()
		l.load() // what the mirror keeps begins here
		l.put("entity/c", "1")
		pass(time.Second)
		told, to, err := l.replayed(from)
		if err != nil {
			t.Fatal(err)
		}
		if to != l.mirror.Revision() || fmt.Sprint(told) != "[entity/a entity/b entity/c]" {
			t.Errorf("told of %v up to %d, want all three up to %d", told, to, l.mirror.Revision())
		}
		l.put("entity/d", "1")
		steps, _, err := l.mirror.Steps(l.ctx, to)
		if err != nil || len(steps) != 1 || steps[0].Changes[0].Name != "entity/d" {
			t.Errorf("steps after the replay = %v, %v", steps, err)
		}
	})
}

// opened counts the streams of a source that are open, and has them bring one revision
// at a time.
type opened struct {
	driver.Source
	now, ever atomic.Int64
}

func (o *opened) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	o.now.Add(1)
	o.ever.Add(1)
	return &openedWatcher{Watcher: o.Source.Watch(ctx, after), of: o}
}

type openedWatcher struct {
	driver.Watcher
	of   *opened
	rest driver.Batch
}

func (w *openedWatcher) Next(ctx context.Context) (driver.Batch, error) {
	if len(w.rest.Changes) == 0 {
		b, err := w.Watcher.Next(ctx)
		if err != nil || len(b.Changes) == 0 {
			return b, err
		}
		w.rest = b
	}
	one := driver.Batch{Revision: w.rest.Changes[0].Revision, Changes: w.rest.Changes[:1]}
	w.rest.Changes = w.rest.Changes[1:]
	return one, nil
}

func (w *openedWatcher) Close() {
	w.of.now.Add(-1)
	w.Watcher.Close()
}

// Promise: whoever is slow to take what happened keeps no stream of the store open, which
// its client would have to keep the rest for.
func TestReplay_TellsWithoutAStream(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = 20
		from := l.server.Revision()
		for i := range many {
			l.put(rebind.Name(fmt.Sprintf("big/%02d", i)), strings.Repeat("x", 1<<20))
		}
		source := &opened{Source: l.server.Node("reader")}
		mirror := replica.NewMirror(source, rebind.Rules{}, zap.NewNop())
		ctx, cancel := context.WithCancel(l.ctx)
		var running sync.WaitGroup
		running.Go(func() { _ = mirror.Run(ctx) }) // the cause is the cancel below
		<-mirror.Loaded()
		synctest.Wait()
		told := 0
		to, err := mirror.Replay(l.ctx, from, func(steps []rebind.Changeset) error {
			pass(time.Second) // the client takes its time
			if n := source.now.Load(); n != 1 {
				t.Errorf("%d streams are open while a client is told, want the mirror's alone", n)
			}
			for _, s := range steps {
				if want := rebind.Name(fmt.Sprintf("big/%02d", told)); len(s.Changes) != 1 || s.Changes[0].Name != want {
					t.Fatalf("told of %v, want %s", s.Changes, want)
				}
				told++
			}
			return nil
		})
		if err != nil || told != many || to < l.server.Revision() {
			t.Errorf("told of %d up to %d, %v", told, to, err)
		}
		if n := source.ever.Load(); n < 3 {
			t.Errorf("%d streams, want it to come in parts", n)
		}
		cancel()
		running.Wait()
	})
}

func TestReplay_NotNeeded(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		from := l.mirror.Revision()
		l.put("entity/a", "1")
		pass(time.Second)
		told, to, err := l.replayed(from)
		if err != nil || to != from || told != nil {
			t.Errorf("told of %v up to %d, %v: want nothing, since Steps reaches back", told, to, err)
		}
	})
}

func TestReplay_OfWhatIsCompacted(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		from := l.server.Revision()
		l.put("entity/a", "1")
		l.put("entity/b", "1")
		l.server.Compact()
		l.load()
		if _, _, err := l.replayed(from); !errors.Is(err, driver.ErrCompacted) {
			t.Errorf("Replay = %v, want ErrCompacted", err)
		}
	})
}

// A replay that waits for the others gives up with its context.
func TestReplay_TakesTurns(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		from := l.server.Revision()
		l.put("entity/a", "1")
		l.load()
		hold := make(chan struct{})
		for range replica.MaxReplays {
			l.group.Go(func() {
				_, _ = l.mirror.Replay(l.ctx, from, func([]rebind.Changeset) error { <-hold; return nil })
			})
		}
		pass(time.Second)
		ctx, cancel := context.WithTimeoutCause(l.ctx, time.Second, errEnd)
		defer cancel()
		if _, err := l.mirror.Replay(ctx, from, nil); !errors.Is(err, errEnd) {
			t.Errorf("Replay = %v, want the cause of its context", err)
		}
		close(hold)
		pass(time.Second)
		if _, _, err := l.replayed(from); err != nil {
			t.Errorf("Replay when there is room again: %v", err)
		}
	})
}

// Promise: who follows a store that goes back in time is not left waiting for its
// revisions to come again, nor told of another history.
func TestSteps_StoreThatIsRestored(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		early := l.server.Revision()
		for i := range 10 {
			l.put("entity/b", fmt.Sprint(i))
		}
		l.load()
		f := follow(l.mirror.View())
		ended := make(chan error, 1)
		l.group.Go(func() { ended <- f.next(l.ctx, l.mirror) })
		pass(time.Second)
		l.server.Restore(early)
		pass(5 * time.Second)
		// Which of the two it is depends on whether the reload is quicker.
		if err := <-ended; !errors.Is(err, driver.ErrRestored) && !errors.Is(err, driver.ErrCompacted) {
			t.Errorf("Steps that waited = %v, want an end", err)
		}
		if _, _, err := l.mirror.Steps(l.ctx, f.at); !errors.Is(err, driver.ErrCompacted) {
			t.Errorf("Steps after the reload = %v, want ErrCompacted", err)
		}
	})
}
