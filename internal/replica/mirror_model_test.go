package replica_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/rebind"
)

// move is one thing that happens to the store, or between it and the mirror.
type move struct {
	kind  string
	names []rebind.Name
}

// moves draws a history. Few names, so that they are met again.
func moves(t *rapid.T) []move {
	names := []rebind.Name{"a/1", "a/2", "a/3", "b/1", "b/2"}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{
			kind:  rapid.SampledFrom([]string{"put", "put", "garble", "delete", "delta", "delta", "nudge", "break", "cut", "heal", "compact", "wait"}).Draw(t, "kind"),
			names: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, len(names), rapid.ID[rebind.Name]).Draw(t, "names"),
		}
	}), 1, 40).Draw(t, "moves")
}

// kept is what the model remembers of a memento.
type kept struct {
	payload, fault string
	at             rebind.Revision
}

// model is the content of the store as a plain map.
type model map[rebind.Name]kept

// play makes a move on store and model.
func (l *lab) play(m model, mv move, turn int) {
	payload := fmt.Sprintf("%d%s", turn, strings.Repeat("x", turn%7))
	first := mv.names[0]
	switch mv.kind {
	case "put":
		l.put(first, payload)
		m[first] = kept{payload: payload, at: l.server.Revision()}
	case "garble":
		l.server.Put(first, rebind.Content{}, "garbage "+payload)
		m[first] = kept{fault: "garbage " + payload, at: l.server.Revision()}
	case "delete":
		l.commit(deleteOp(first))
		delete(m, first)
	case "delta":
		var ops []rebind.Op
		for i, name := range mv.names {
			if i%2 == 0 {
				ops = append(ops, putOp(name, payload))
			} else {
				ops = append(ops, deleteOp(name))
			}
		}
		rev := l.commit(ops...)
		for i, name := range mv.names {
			if delete(m, name); i%2 == 0 {
				m[name] = kept{payload: payload, at: rev}
			}
		}
	case "nudge":
		l.nudge()
	case "break":
		l.source.breakWatch(errors.New("connection lost"))
	case "cut":
		l.server.Cut("reader")
	case "heal":
		l.server.Heal("reader")
	case "compact":
		l.server.Compact()
	case "wait":
		pass(700 * time.Millisecond)
	}
}

// differs tells how v is not what the model says.
func (m model) differs(v *rebind.View) error {
	var bytes int64
	readable, faults := []rebind.Name{}, []rebind.Name{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		want := m[name]
		got, err := v.Get(name)
		if want.fault != "" {
			faults = append(faults, name)
			if !errors.Is(err, rebind.ErrQuarantined) || !strings.Contains(err.Error(), want.fault) {
				return fmt.Errorf("%s = %v, %w, want it quarantined for %q", name, got, err, want.fault)
			}
			continue
		}
		readable = append(readable, name)
		bytes += int64(len(name) + len(want.payload))
		if err != nil || string(got.Payload) != want.payload || got.Modified != want.at || got.Name != name {
			return fmt.Errorf("%s = %+v, %w, want %+v", name, got, err, want)
		}
	}
	list := []rebind.Name{}
	for memento := range v.From("") {
		list = append(list, memento.Name)
	}
	sick := []rebind.Name{}
	for _, f := range v.Faults() {
		if f.Revision != m[f.Name].at || f.Fault != m[f.Name].fault {
			return fmt.Errorf("fault %+v, want %+v", f, m[f.Name])
		}
		sick = append(sick, f.Name)
	}
	if !slices.Equal(list, readable) || !slices.Equal(sick, faults) || v.Len() != len(readable) || v.FaultCount() != len(faults) || v.Bytes() != bytes {
		return fmt.Errorf("lists %v (%d of %d bytes) and faults %v (%d), want %v (%d bytes) and %v",
			list, v.Len(), v.Bytes(), sick, v.FaultCount(), readable, bytes, faults)
	}
	return nil
}

// Promise: content at revision R equals the store's content at R, whatever
// happened on the way, and a view once taken never changes.
func TestMirror_LikeTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		history := moves(rt)
		var wrong error
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			l.load()
			wrong = l.compare(history)
		})
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
}

// compare plays a history and looks at every view that comes of it.
func (l *lab) compare(history []move) error {
	m := make(model)
	past := map[rebind.Revision]model{l.server.Revision(): maps.Clone(m)}
	views := make(map[*rebind.View]bool)
	last := rebind.Revision(0)
	for turn, mv := range history {
		before := l.server.Revision()
		l.play(m, mv, turn)
		if at := l.server.Revision(); at > before {
			past[at] = maps.Clone(m)
		}
		synctest.Wait()
		v := l.mirror.View()
		if v.Revision() < last {
			return fmt.Errorf("move %d, %s: revision %d after %d", turn, mv.kind, v.Revision(), last)
		}
		last = v.Revision()
		views[v] = true
	}
	l.server.Heal("reader")
	if err := l.mirror.CatchUp(l.within(time.Minute), l.server.Revision()); err != nil {
		return fmt.Errorf("mirror does not catch up: %w", err)
	}
	views[l.mirror.View()] = true
	for v := range views {
		was, ok := past[v.Revision()]
		if !ok {
			return fmt.Errorf("view of revision %d, which the store never had", v.Revision())
		}
		if err := was.differs(v); err != nil {
			return fmt.Errorf("view of revision %d: %w", v.Revision(), err)
		}
	}
	return nil
}
