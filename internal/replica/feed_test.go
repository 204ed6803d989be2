package replica_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// follower replays the steps of a mirror onto a map.
type follower struct {
	at   rebind.Revision
	has  map[rebind.Name]string
	last rebind.Revision // of the last step
}

func follow(v *rebind.View) *follower {
	f := &follower{at: v.Revision(), has: make(map[rebind.Name]string)}
	for m := range v.From("") {
		f.has[m.Name] = string(m.Payload)
	}
	return f
}

// next takes what has come since.
func (f *follower) next(ctx context.Context, m *replica.Mirror) error {
	steps, at, err := m.Steps(ctx, f.at)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.Revision <= f.last || s.Revision <= f.at || s.Revision > at {
			return fmt.Errorf("step %d after %d, for a follower at %d that is brought to %d", s.Revision, f.last, f.at, at)
		}
		f.last = s.Revision
		for _, c := range s.Changes {
			if c.Memento == nil {
				delete(f.has, c.Name)
			} else {
				f.has[c.Name] = string(c.Memento.Payload)
			}
		}
	}
	f.at = at
	return nil
}

func (f *follower) shows(t *testing.T, v *rebind.View) {
	t.Helper()
	if len(f.has) != v.Len() {
		t.Errorf("the follower has %d mementos, the view %d", len(f.has), v.Len())
	}
	for m := range v.From("") {
		if f.has[m.Name] != string(m.Payload) {
			t.Errorf("the follower has %q as %s, the view %q", f.has[m.Name], m.Name, m.Payload)
		}
	}
}

// Promise: whoever follows the steps of a mirror comes to what the mirror shows,
// whichever way a change came to it.
func TestSteps_FollowerComesToTheView(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/before", "1")
		l.load()
		f := follow(l.mirror.View())
		p := l.persister()
		for i := range 100 {
			switch i % 5 {
			case 0:
				l.put(entity(i), "by another") // comes by the watch
			case 1:
				l.nudge() // a revision that changes no memento
			case 2:
				l.must(p, deleteOp(entity(i-2)), deleteOp("entity/never"), putOp("entity/hot", fmt.Sprint(i)))
			default:
				l.must(p, putOp(entity(i), "own"), putOp("policy/x", fmt.Sprint(i)))
			}
			pass(time.Millisecond)
			if i%7 == 0 {
				if err := f.next(l.ctx, l.mirror); err != nil {
					t.Fatal(err)
				}
			}
		}
		pass(2 * time.Second)
		l.put("entity/last", "1")
		pass(time.Second)
		for f.at < l.mirror.Revision() {
			if err := f.next(l.ctx, l.mirror); err != nil {
				t.Fatal(err)
			}
		}
		f.shows(t, l.mirror.View())
	})
}

func TestSteps_WaitForWhatComes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		ctx, cancel := context.WithTimeoutCause(l.ctx, time.Second, errEnd)
		defer cancel()
		if _, _, err := l.mirror.Steps(ctx, l.mirror.Revision()); !errors.Is(err, errEnd) {
			t.Errorf("Steps on an idle store = %v, want the cause of its context", err)
		}
	})
}

// What is no longer kept is not passed over in silence.
func TestSteps_TooFarBehind(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		f := follow(l.mirror.View())
		for i := range replica.FeedSteps + 10 {
			l.put("entity/x", fmt.Sprint(i))
			if i%1000 == 0 {
				pass(time.Millisecond)
			}
		}
		pass(time.Second)
		if err := f.next(l.ctx, l.mirror); !errors.Is(err, driver.ErrCompacted) {
			t.Fatalf("Steps = %v, want ErrCompacted", err)
		}
		f.at = l.mirror.Revision() - replica.FeedSteps + 1
		if err := f.next(l.ctx, l.mirror); err != nil {
			t.Errorf("Steps from within what is kept: %v", err)
		}
	})
}

func TestSteps_MirrorThatIsLoadedAnew(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		f := follow(l.mirror.View())
		l.server.Cut("reader")
		l.put("entity/x", "1")
		l.server.Compact()
		l.server.Heal("reader")
		pass(5 * time.Second)
		l.reads("entity/x", "1")
		if err := f.next(l.ctx, l.mirror); !errors.Is(err, driver.ErrCompacted) {
			t.Fatalf("Steps over a reload = %v, want ErrCompacted", err)
		}
	})
}
