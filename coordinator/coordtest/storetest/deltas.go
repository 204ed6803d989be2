package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

func commitAtomic(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	first := commit(t, term, "op1", []rebind.Revision{0, 0}, put("entity/x", "1"), put("entity/y", "1"))
	found, _ := load(t, lab)
	x := found["entity/x"].Memento
	if len(found) != 2 || x == nil || string(x.Payload) != "1" || x.Modified != first || x.Created != first || x.Version != 1 {
		t.Fatalf("found %+v, want both at revision %d", found, first)
	}
	if x.By != driver.MarkOf("op1") || x.By == driver.MarkOf("op2") {
		t.Fatalf("mark %d is not that of the operation that wrote it", x.By)
	}
	if x.ContentType != "text/plain; charset=utf-8" || x.Parent != "entity/p" || x.Schema != 3 {
		t.Fatalf("content = %+v", x.Content)
	}
	_, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: "op2", Ops: []rebind.Op{put("entity/x", "2"), {Name: "entity/y"}}}, []rebind.Revision{first, first - 1}))
	var moved *driver.BaseError
	if !errors.As(err, &moved) || len(moved.Actual) != 2 || moved.Actual[0] != first || moved.Actual[1] != first {
		t.Fatalf("commit on a wrong base = %v, want a BaseError with %d twice", err, first)
	}
	if again, _ := load(t, lab); string(again["entity/x"].Memento.Payload) != "1" || len(again) != 2 {
		t.Fatalf("found %+v, want nothing changed", again)
	}
	second := commit(t, term, "op3", []rebind.Revision{first, first}, put("entity/x", "2"), rebind.Op{Name: "entity/y"})
	found, rev := load(t, lab)
	x = found["entity/x"].Memento
	if len(found) != 1 || string(x.Payload) != "2" || x.Created != first || x.Modified != second || x.Version != 2 || x.By != driver.MarkOf("op3") {
		t.Fatalf("found %+v, want x replaced and y gone at %d", found, second)
	}
	if second != first+1 || rev != second {
		t.Errorf("revisions %d and %d, store at %d, want one each", first, second, rev)
	}
	if noop := commit(t, term, "op4", []rebind.Revision{0}, rebind.Op{Name: "entity/y"}); noop != second {
		t.Errorf("deleting what is not there made revision %d after %d", noop, second)
	}
}

func commitFenced(t *testing.T, lab Lab) {
	old := elect(t, join(t, lab, "a"))
	at := commit(t, old, "op1", []rebind.Revision{0}, put("entity/x", "old"))
	waiting := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	lab.Revoke("a")
	if _, err := waiting.wait(t); err != nil {
		t.Fatal(err)
	}
	late := rebind.Delta{ID: "op2", Ops: []rebind.Op{put("entity/x", "late")}}
	// Whether it is sent depends on whether the news has arrived.
	_, err := old.Commit(limit(t), driver.Writes(late, []rebind.Revision{at}))
	if !errors.Is(err, driver.ErrFenced) && !errors.Is(err, driver.ErrClosed) {
		t.Fatalf("commit of a former term = %v, want ErrFenced or ErrClosed", err)
	}
	over(t, old)
	if _, err := old.Commit(limit(t), driver.Writes(late, []rebind.Revision{at})); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("commit of a term known to be over = %v, want ErrClosed: not sent", err)
	}
	if err := old.Publish(limit(t), record("a")); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("publish of a term known to be over = %v, want ErrClosed: not sent", err)
	}
	found, _ := load(t, lab)
	if got := string(found["entity/x"].Memento.Payload); got != "old" {
		t.Fatalf("payload = %q, want the late write refused", got)
	}
}

func loadSees(t *testing.T, lab Lab) {
	if found, rev := load(t, lab); len(found) != 0 || rev == 0 {
		t.Fatalf("empty store: %v at %d", found, rev)
	}
	term := elect(t, join(t, lab, "a"))
	const batches, each = 7, 100
	for b := range batches {
		ops, base := make([]rebind.Op, each), make([]rebind.Revision, each)
		for i := range ops {
			ops[i] = put(rebind.Name("entity/"+string(rune('a'+b))+"-"+string(rune('a'+i/26))+string(rune('a'+i%26))), "v")
		}
		commit(t, term, "op"+string(rune('a'+b)), base, ops...)
	}
	head, err := lab.Node("observer").Head(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	pages, last := 0, rebind.Name("")
	var count, total int64
	rev, err := lab.Node("observer").Load(limit(t), func(p driver.Page) error {
		pages++
		count += int64(len(p.Changes))
		total = p.Total
		for _, c := range p.Changes {
			if c.Name <= last {
				t.Errorf("%s comes after %s", c.Name, last)
			}
			last = c.Name
		}
		return nil
	})
	if err != nil || count != batches*each || total != count || rev != head {
		t.Fatalf("loaded %d of %d at %d, error %v, want %d at %d", count, total, rev, err, batches*each, head)
	}
	if pages < 2 {
		t.Errorf("%d pages, want several", pages)
	}
	stop := errors.New("stop")
	if _, err := lab.Node("observer").Load(limit(t), func(driver.Page) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("load = %v, want the error of page", err)
	}
}

func next(t *testing.T, w driver.Watcher) driver.Batch {
	t.Helper()
	b, err := w.Next(limit(t))
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return b
}

func watchBrings(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	before := commit(t, term, "op0", []rebind.Revision{0}, put("entity/w", "0"))
	first := commit(t, term, "op1", []rebind.Revision{0, 0}, put("entity/x", "1"), put("entity/y", "1"))
	w := lab.Node("observer").Watch(t.Context(), before)
	defer w.Close()
	second := commit(t, term, "op2", []rebind.Revision{first, first}, put("entity/x", "2"), rebind.Op{Name: "entity/y"})
	var seen []rebind.Change
	for last := before; last < second; {
		b := next(t, w)
		if b.Revision <= last {
			t.Fatalf("batch of revision %d after %d", b.Revision, last)
		}
		last = b.Revision
		seen = append(seen, b.Changes...)
		if count(seen, first) == 1 || count(seen, second) == 1 {
			t.Fatalf("a delta in parts: %+v", b)
		}
	}
	if len(seen) != 4 || count(seen, first) != 2 || count(seen, second) != 2 {
		t.Fatalf("seen %+v, want two deltas of two", seen)
	}
	for _, c := range seen {
		deleted := c.Revision == second && c.Name == "entity/y"
		if deleted != (c.Memento == nil) || c.Fault != "" {
			t.Errorf("change %+v, deleted should be %t", c, deleted)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("next = %v, want the cause of its context", err)
	}
}

func count(changes []rebind.Change, at rebind.Revision) int {
	n := 0
	for _, c := range changes {
		if c.Revision == at {
			n++
		}
	}
	return n
}

func watchCompacted(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	first := commit(t, term, "op1", []rebind.Revision{0}, put("entity/x", "1"))
	commit(t, term, "op2", []rebind.Revision{first}, put("entity/x", "2"))
	lab.Compact()
	w := lab.Node("observer").Watch(t.Context(), first-1)
	defer w.Close()
	if b, err := w.Next(limit(t)); !errors.Is(err, driver.ErrCompacted) {
		t.Fatalf("next = %+v, %v, want ErrCompacted", b, err)
	}
}

func progressTells(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	term := elect(t, m)
	at := commit(t, term, "op1", []rebind.Revision{0}, put("entity/x", "1"))
	w := lab.Node("observer").Watch(t.Context(), at)
	defer w.Close()
	if err := term.Publish(limit(t), record("a")); err != nil { // no memento's revision
		t.Fatal(err)
	}
	head, err := lab.Node("observer").Head(limit(t))
	if err != nil || head <= at {
		t.Fatalf("head = %d, %v, want more than %d", head, err, at)
	}
	reached := make(chan driver.Batch, 1)
	go func() {
		b, _ := w.Next(t.Context())
		reached <- b
	}()
	eventually(t, func() error {
		if err := w.Progress(limit(t)); err != nil {
			return err
		}
		select {
		case b := <-reached:
			if b.Revision < head || len(b.Changes) != 0 {
				t.Errorf("batch = %+v, want no change up to %d", b, head)
			}
			return nil
		default:
			return errors.New("no progress told")
		}
	})
}

func garbageIsFault(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	at := commit(t, term, "op1", []rebind.Revision{0, 0}, put("entity/x", "1"), put("entity/y", "1"))
	w := lab.Node("observer").Watch(t.Context(), at)
	defer w.Close()
	lab.Garble("entity/x")
	b := next(t, w)
	if len(b.Changes) != 1 || b.Changes[0].Fault == "" || b.Changes[0].Memento != nil || b.Changes[0].Name != "entity/x" {
		t.Fatalf("batch = %+v, want a fault of entity/x", b)
	}
	found, _ := load(t, lab)
	if x, y := found["entity/x"], found["entity/y"]; x.Fault == "" || x.Revision != b.Revision || y.Memento == nil {
		t.Fatalf("found %+v, want x faulty at %d and y well", found, b.Revision)
	}
	healed := commit(t, term, "op2", []rebind.Revision{b.Revision}, put("entity/x", "2"))
	if found, _ := load(t, lab); found["entity/x"].Memento == nil || found["entity/x"].Revision != healed {
		t.Fatalf("found %+v, want x healed", found["entity/x"])
	}
}

func pastShows(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	first := commit(t, term, "one", []rebind.Revision{0, 0}, put("entity/a", "1"), put("entity/b", "1"))
	second := commit(t, term, "two", []rebind.Revision{first, first, 0},
		rebind.Op{Name: "entity/a"}, put("entity/b", "2"), put("policy/c", "2"))
	store := lab.Node("observer")
	for at, want := range map[rebind.Revision][]string{
		first - 1: nil,
		first:     {"entity/a=1", "entity/b=1"},
		second:    {"entity/b=2", "policy/c=2"},
	} {
		found, more, err := store.Past(limit(t), at, "", 10)
		if err != nil || more || !slices.Equal(texts(found), want) {
			t.Errorf("at %d: %v, more %t, %v, want %v", at, texts(found), more, err, want)
		}
	}
	found, more, err := store.Past(limit(t), first, "entity/a0", 1)
	if err != nil || more || !slices.Equal(texts(found), []string{"entity/b=1"}) {
		t.Errorf("from entity/a0: %v, more %t, %v", texts(found), more, err)
	}
	if _, more, err := store.Past(limit(t), first, "", 1); err != nil || !more {
		t.Errorf("one of two: more %t, %v", more, err)
	}
	if _, _, err := store.Past(limit(t), second+1000, "", 1); !errors.Is(err, driver.ErrAhead) {
		t.Errorf("ahead of the store: %v, want ErrAhead", err)
	}
	lab.Compact()
	if _, _, err := store.Past(limit(t), first, "", 1); !errors.Is(err, driver.ErrCompacted) {
		t.Errorf("what is compacted: %v, want ErrCompacted", err)
	}
	if found, _, err := store.Past(limit(t), second, "", 10); err != nil || len(found) != 2 {
		t.Errorf("the revision that was compacted to: %v, %v", texts(found), err)
	}
}

func texts(found []rebind.Change) (all []string) {
	for _, c := range found {
		all = append(all, fmt.Sprintf("%s=%s", c.Name, c.Memento.Payload))
	}
	return all
}
