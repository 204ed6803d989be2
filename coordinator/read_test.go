package coordinator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// fresh is how old in real time, which passes in a bubble too, something may be that
// has just happened.
const fresh = 500 * time.Millisecond

// within is a context that ends after d of virtual time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Promise: what is confirmed shows every change that anybody can have seen before,
// on a master too.
func TestNode_ConfirmShowsWhatTheStoreHas(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		l.start("b", modes.HotBackup)
		settle()
		for _, id := range []string{"a", "b"} {
			n := l.nodes[id]
			l.server.Put("entity/x", rebind.Content{Payload: []byte("for " + id)}, "")
			at := l.server.Revision()
			l.server.DeleteRecord("nobody") // a revision that brings no change of a memento
			if err := n.Confirm(within(t, time.Second)); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			r, err := n.Read()
			if err != nil || r.View.Revision() <= at || r.Staleness > fresh {
				t.Errorf("%s reads revision %d, %s old, %v; want more than %d, just confirmed", id, r.View.Revision(), r.Staleness, err, at)
			}
			if m, err := r.View.Get("entity/x"); err != nil || string(m.Payload) != "for "+id {
				t.Errorf("%s reads %v, %v", id, m, err)
			}
		}
	})
}

func TestNode_ConfirmResetsTheStaleness(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		n := l.start("b", modes.HotBackup)
		pass(10*time.Second + 700*time.Millisecond) // between two of its own confirmations
		if r, _ := n.Read(); r.Staleness <= fresh {
			t.Fatal("the copy is not stale, the test shows nothing")
		}
		if err := n.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r, _ := n.Read(); r.Staleness > fresh {
			t.Errorf("staleness %s after it was confirmed", r.Staleness)
		}
	})
}

func TestNode_ConfirmFails(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		cold, hot := l.start("c", modes.Standby), l.start("b", modes.HotBackup)
		settle()
		if err := cold.Confirm(t.Context()); !errors.Is(err, coordinator.ErrNotReadable) {
			t.Errorf("on a node without a copy: %v, want ErrNotReadable", err)
		}
		for id, n := range map[string]*running{"a": a, "b": hot} {
			l.server.Cut(id)
			if err := n.Confirm(within(t, time.Second)); !errors.Is(err, rebind.ErrUnavailable) {
				t.Errorf("%s without its store: %v, want ErrUnavailable", id, err)
			}
			l.server.Heal(id)
		}
	})
}

// A store that went back in time confirms nothing.
func TestNode_ConfirmOfARestoredStore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.start("b", modes.HotBackup)
		settle()
		for range 10 {
			l.server.Put("entity/x", rebind.Content{}, "")
		}
		settle()
		l.server.Restore(2)
		if err := n.Confirm(within(t, time.Second)); !errors.Is(err, driver.ErrRestored) {
			t.Errorf("confirm = %v, want ErrRestored", err)
		}
	})
}

func TestNode_PastIsReadFromTheStore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		cold := l.start("c", modes.Standby)
		settle()
		put(t, a, "entity/x", "1")
		first := l.server.Revision()
		put(t, a, "entity/x", "2")
		put(t, a, "entity/y", "2")
		for id, n := range map[string]*running{"a": a, "c": cold} { // whatever it holds itself
			found, more, err := n.Past(t.Context(), first, "", 10)
			if err != nil || more || len(found) != 1 || string(found[0].Memento.Payload) != "1" {
				t.Errorf("%s tells %v of revision %d, more %t, %v", id, found, first, more, err)
			}
		}
		if _, _, err := a.Past(t.Context(), l.server.Revision()+1, "", 10); !errors.Is(err, driver.ErrAhead) {
			t.Errorf("of the future: %v, want ErrAhead", err)
		}
		l.server.Compact()
		if _, _, err := a.Past(t.Context(), first, "", 10); !errors.Is(err, driver.ErrCompacted) {
			t.Errorf("of what is compacted: %v, want ErrCompacted", err)
		}
		l.server.Cut("a")
		if _, _, err := a.Past(within(t, time.Second), l.server.Revision(), "", 10); !errors.Is(err, rebind.ErrUnavailable) {
			t.Errorf("without the store: %v, want ErrUnavailable", err)
		}
		l.server.Heal("a")
	})
}
