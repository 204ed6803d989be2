package rebind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/rebind"
)

// replayed collects what a replay tells, as text.
func (l *lab) replayed(after rebind.Revision) (told []string, to rebind.Revision, err error) {
	last := after
	to, err = l.mirror.Replay(l.ctx, after, func(steps []rebind.Step) error {
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
		if _, _, err := l.replayed(from); !errors.Is(err, rebind.ErrCompacted) {
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
		for range rebind.MaxReplays {
			l.group.Go(func() {
				_, _ = l.mirror.Replay(l.ctx, from, func([]rebind.Step) error { <-hold; return nil })
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
		if err := <-ended; !errors.Is(err, rebind.ErrRestored) && !errors.Is(err, rebind.ErrCompacted) {
			t.Errorf("Steps that waited = %v, want an end", err)
		}
		if _, _, err := l.mirror.Steps(l.ctx, f.at); !errors.Is(err, rebind.ErrCompacted) {
			t.Errorf("Steps after the reload = %v, want ErrCompacted", err)
		}
	})
}
