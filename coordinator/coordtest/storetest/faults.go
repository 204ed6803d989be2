package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// nothing happens while an answer is lost.
func nothing() {}

func lostAnswers(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	put2, remove := put("entity/x", "2"), rebind.Op{Name: "entity/x"}
	garble := func() { lab.Garble("entity/x") }
	depose := func() { lab.DeleteCandidate("a") }
	for _, c := range []struct {
		name      string
		op        rebind.Op
		meanwhile func()
		want      error // nil: it is stored
	}{
		{"a put", put2, nothing, nil},
		{"a deletion", remove, nothing, nil},
		{"a put that somebody has written over", put2, garble, rebind.ErrUnknown},
		{"a put before the end of its term", put2, depose, nil},
		{"a deletion before the end of its term", remove, depose, rebind.ErrUnknown},
	} {
		term := elect(t, m)
		at := rebind.Revision(0)
		if found, _ := load(t, lab); found["entity/x"].Revision != 0 {
			at = found["entity/x"].Revision
		}
		at = commit(t, term, "first", []rebind.Revision{at}, put("entity/x", "1"))
		lab.LoseAnswer("a", c.meanwhile)
		rev, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: "second", Ops: []rebind.Op{c.op}}, []rebind.Revision{at}))
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Fatalf("%s = %v, want %v", c.name, err, c.want)
		}
		found, _ := load(t, lab)
		x, there := found["entity/x"]
		switch {
		case c.op.Put == nil:
			if there {
				t.Errorf("%s: it is still there: %+v", c.name, x)
			}
		case err == nil && (x.Memento == nil || string(x.Memento.Payload) != "2" || x.Revision != rev || rev != at+1):
			t.Errorf("%s: found %+v, want it once, at %d", c.name, x, at+1)
		}
		if err := term.Resign(limit(t), record("a")); err != nil && !errors.Is(err, driver.ErrClosed) && !errors.Is(err, driver.ErrFenced) {
			t.Fatalf("%s: resign: %v", c.name, err)
		}
		over(t, term)
	}
}

func fullStore(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	at := commit(t, term, "op1", []rebind.Revision{0, 0}, put("entity/x", "1"), put("entity/y", "1"))
	lab.Fill(true)
	defer lab.Fill(false)
	late := rebind.Delta{ID: "op2", Ops: []rebind.Op{put("entity/x", "2"), {Name: "entity/y"}}}
	if _, err := term.Commit(limit(t), driver.Writes(late, []rebind.Revision{at, at})); !errors.Is(err, driver.ErrStoreFull) {
		t.Fatalf("put = %v, want ErrStoreFull", err)
	}
	if _, err := lab.Node("b").Join(limit(t), record("b")); !errors.Is(err, driver.ErrStoreFull) {
		t.Errorf("join = %v, want ErrStoreFull", err)
	}
	gone := commit(t, term, "op3", []rebind.Revision{at}, rebind.Op{Name: "entity/y"})
	if found, _ := load(t, lab); len(found) != 1 || string(found["entity/x"].Memento.Payload) != "1" || gone <= at {
		t.Errorf("found %+v at %d, want x as it was and y gone", found, gone)
	}
	if term.Context().Err() != nil {
		t.Fatal("a full store has ended the term")
	}
	lab.Fill(false)
	commit(t, term, "op4", []rebind.Revision{at}, put("entity/x", "2"))
}

func corruptStore(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	term := elect(t, m)
	at := commit(t, term, "op1", []rebind.Revision{0}, put("entity/x", "1"))
	lab.Corrupt(true)
	defer lab.Corrupt(false)
	began := time.Now()
	for name, write := range map[string]func() error{
		"a put": func() error {
			_, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: "op2", Ops: []rebind.Op{put("entity/x", "2")}}, []rebind.Revision{at}))
			return err
		},
		"a deletion": func() error {
			_, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: "op3", Ops: []rebind.Op{{Name: "entity/x"}}}, []rebind.Revision{at}))
			return err
		},
		"a record": func() error { return m.Publish(limit(t), record("a")) },
		"a join":   func() error { _, err := lab.Node("b").Join(limit(t), record("b")); return err },
		"a pause":  func() error { return lab.Node("a").Pause(limit(t), driver.Pause{By: "a"}) },
		"a probe":  func() error { return lab.Node("a").Writable(limit(t), record("a")) },
	} {
		if err := write(); !errors.Is(err, driver.ErrStoreCorrupt) || errors.Is(err, rebind.ErrUnknown) {
			t.Errorf("%s = %v, want ErrStoreCorrupt", name, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("refused after %s", took)
	}
	stands := func(corrupt bool) {
		for ctx := limit(t); errors.Is(lab.Node("a").Health().Refuses, driver.ErrStoreCorrupt) != corrupt; {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("standing = %+v, corrupt is %t", lab.Node("a").Health(), corrupt)
			}
		}
	}
	stands(true)
	if found, _ := load(t, lab); len(found) != 1 || string(found["entity/x"].Memento.Payload) != "1" {
		t.Errorf("found %+v, want x as it was", found)
	}
	if term.Context().Err() != nil {
		t.Fatal("a corrupt store has ended the term")
	}
	lab.Corrupt(false)
	stands(false)
	commit(t, term, "op4", []rebind.Revision{at}, put("entity/x", "2"))
}

func historyIsPruned(t *testing.T, lab Lab) {
	const kept, all = 200, 205
	term := elect(t, join(t, lab, "a"))
	for i := range int64(all) {
		entry := driver.HistoryEntry{Term: i + 1, Node: "a", Reason: driver.ReasonStart}
		if err := term.Announce(limit(t), record("a"), entry); err != nil {
			t.Fatalf("announce %d: %v", i, err)
		}
	}
	history, err := lab.Node("observer").History(limit(t))
	if err != nil || len(history) != kept || history[0].Term != all || history[kept-1].Term != all-kept+1 {
		t.Fatalf("%d entries, %v, want the %d from term %d to %d: %+v", len(history), err, kept, all-kept+1, all, history)
	}
}
