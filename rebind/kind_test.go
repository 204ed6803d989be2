package rebind_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/rebind"
)

// locked is a memory that several goroutines may use. It has the races of a node: what a
// caller has read may have changed before it commits.
type locked struct {
	mu sync.Mutex // guards the memory
	memory
}

// View returns the newest view.
func (l *locked) View() *rebind.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.View()
}

// Commit applies d after a moment, if its expectations are met then.
func (l *locked) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	<-time.After(time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.Commit(ctx, d)
}

// scripted is a memory whose views may know less of the past than it does.
type scripted struct {
	memory
	known rebind.Revision // the steps after it are known
}

// View returns the newest view.
func (s *scripted) View() *rebind.View {
	return s.draft.View(s.at, func(after rebind.Revision) ([]rebind.Changeset, bool) {
		if after < s.known {
			return nil, false
		}
		return s.steps[after:], true
	})
}

// fault makes a memento unreadable.
func (s *scripted) fault(name rebind.Name) {
	s.at++
	c := rebind.Change{Name: name, Fault: "no header", Revision: s.at}
	s.draft.Apply(c)
	s.steps = append(s.steps, rebind.Changeset{Revision: s.at, Changes: []rebind.Change{c}})
}

// reload makes another draft of the same content, as a node does that has lost its watch.
func (s *scripted) reload() {
	v := s.View()
	s.draft = rebind.Draft{}
	for m := range v.From("") {
		s.draft.Load(v.Change(m.Name))
	}
	for _, f := range v.Faults() {
		s.draft.Load(f)
	}
	s.known = s.at
}

// must commits operations without a kind.
func must(t *testing.T, state rebind.Shared, ops ...rebind.Op) {
	t.Helper()
	if _, err := state.Commit(t.Context(), rebind.Delta{Ops: ops}); err != nil {
		t.Fatal(err)
	}
}

func putOp(name rebind.Name, payload string) rebind.Op {
	return rebind.Op{Name: name, Put: &rebind.Content{Payload: []byte(payload)}}
}

func TestKind_ReadsWhatItWrote(t *testing.T) {
	ctx, state, jobs := t.Context(), new(memory), rebind.JSON[Job]("job")
	first, err := jobs.Put(ctx, state, "nightly", Job{"ann", 1}, rebind.Absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.Put(ctx, state, "nightly", Job{"bob", 9}, rebind.Absent); !errors.Is(err, rebind.ErrConflict) {
		t.Errorf("a second one is %v, want a conflict", err)
	}
	must(t, state, putOp("jobs/other", "of another type"), putOp("job/broken", "{"))
	if _, err := jobs.Put(ctx, state, "hourly", Job{"cy", 2}); err != nil {
		t.Fatal(err)
	}
	got, err := jobs.Get(state.View(), "nightly")
	if want := (rebind.Entry[Job]{ID: "nightly", Value: Job{"ann", 1}, Modified: first.Revision}); err != nil || got != want {
		t.Errorf("read %+v, %v, want %+v", got, err, want)
	}
	m, _ := state.View().Get("job/nightly")
	if m.ContentType != "application/json" || m.Schema != 0 {
		t.Errorf("stored as %s, schema %d", m.ContentType, m.Schema)
	}
	var ids []string
	for e, err := range jobs.All(state.View()) {
		if (e.ID == "broken") != errors.Is(err, rebind.ErrQuarantined) {
			t.Errorf("%s: %v", e.ID, err)
		}
		ids = append(ids, e.ID)
	}
	if want := []string{"broken", "hourly", "nightly"}; !slices.Equal(ids, want) {
		t.Errorf("all are %v, want %v", ids, want)
	}
	for e := range jobs.List(state.View(), "n") {
		if e.ID != "nightly" {
			t.Errorf("%s begins with n", e.ID)
		}
	}
	if _, err := jobs.Delete(ctx, state, "nightly", first.Revision+1); !errors.Is(err, rebind.ErrConflict) {
		t.Errorf("deleting another revision: %v, want a conflict", err)
	}
	if _, err := jobs.Delete(ctx, state, "nightly", first.Revision); err != nil {
		t.Error(err)
	}
	if _, err := jobs.Get(state.View(), "nightly"); !errors.Is(err, rebind.ErrNotFound) {
		t.Errorf("reading a deleted value: %v", err)
	}
	if _, err := rebind.JSON[Job]("No Type").Put(ctx, state, "x", Job{}); !errors.Is(err, rebind.ErrInvalid) {
		t.Errorf("an invalid type: %v", err)
	}
	if _, err := rebind.JSON[func()]("f").Put(ctx, state, "x", nil); err == nil || !strings.Contains(err.Error(), "f/x") {
		t.Errorf("a value that cannot be encoded: %v", err)
	}
}

// counting is JSON that counts how often it decodes.
type counting struct{ decoded *atomic.Int64 }

func (counting) ContentType() string          { return "application/json" }
func (counting) Encode(v Job) ([]byte, error) { return json.Marshal(v) }
func (c counting) Decode(p []byte) (v Job, err error) {
	c.decoded.Add(1)
	return v, json.Unmarshal(p, &v)
}

// Promise: a value is decoded once for each revision of its memento, and not before it
// is read.
func TestKind_DecodesOncePerRevision(t *testing.T) {
	var decoded atomic.Int64
	ctx, state, jobs := t.Context(), new(memory), rebind.NewKind("job", counting{&decoded})
	for i := range 3 {
		if _, err := jobs.Put(ctx, state, "a", Job{Runs: i}); err != nil {
			t.Fatal(err)
		}
		must(t, state, putOp("noise/x", fmt.Sprint(i))) // another revision, of another memento
	}
	if n := decoded.Load(); n != 0 {
		t.Errorf("decoded %d times before it was read", n)
	}
	old := state.View()
	for range 10 {
		if e, err := jobs.Get(state.View(), "a"); err != nil || e.Value.Runs != 2 {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	must(t, state, putOp("job/b", "{"))
	for range 10 {
		for range jobs.All(state.View()) {
		}
	}
	if n := decoded.Load(); n != 2 {
		t.Errorf("decoded %d times, want once for each of two", n)
	}
	if _, err := jobs.Put(ctx, state, "a", Job{Runs: 7}); err != nil {
		t.Fatal(err)
	}
	now, _ := jobs.Get(state.View(), "a")
	before, _ := jobs.Get(old, "a")
	if now.Value.Runs != 7 || before.Value.Runs != 2 {
		t.Errorf("reads %d now and %d in the earlier view", now.Value.Runs, before.Value.Runs)
	}
}

func TestKind_UpgradesAtRead(t *testing.T) {
	ctx, state := t.Context(), new(memory)
	v0 := rebind.JSON[map[string]string]("job")
	if _, err := v0.Put(ctx, state, "old", map[string]string{"who": "ann"}); err != nil {
		t.Fatal(err)
	}
	jobs := rebind.JSON[Job]("job",
		func(p []byte) ([]byte, error) { return bytes.ReplaceAll(p, []byte(`"who"`), []byte(`"user"`)), nil },
		func(p []byte) ([]byte, error) {
			if !bytes.Contains(p, []byte(`"user"`)) {
				return nil, errors.New("no user")
			}
			return bytes.ReplaceAll(p, []byte(`"user"`), []byte(`"owner"`)), nil
		})
	e, err := jobs.Get(state.View(), "old")
	if err != nil || e.Value.Owner != "ann" {
		t.Fatalf("upgraded to %+v, %v", e, err)
	}
	if m, _ := state.View().Get("job/old"); string(m.Payload) != `{"who":"ann"}` || m.Schema != 0 {
		t.Errorf("the stored payload became %s, schema %d", m.Payload, m.Schema)
	}
	if _, err := jobs.Update(ctx, state, "old", func(j Job) (Job, error) { j.Runs++; return j, nil }); err != nil {
		t.Fatal(err)
	}
	if m, _ := state.View().Get("job/old"); m.Schema != 2 {
		t.Errorf("stored under schema %d, want 2", m.Schema)
	}
	if _, err := v0.Get(state.View(), "old"); !errors.Is(err, rebind.ErrQuarantined) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("an older program reads it: %v", err)
	}
	if _, err := v0.Put(ctx, state, "odd", map[string]string{}); err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.Get(state.View(), "odd"); !errors.Is(err, rebind.ErrQuarantined) || !strings.Contains(err.Error(), "schema version 1: no user") {
		t.Errorf("an upgrade that fails: %v", err)
	}
}

// Promise: concurrent updates lose nothing.
func TestKind_UpdateTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, state, jobs := t.Context(), new(locked), rebind.JSON[Job]("job")
		if _, err := jobs.Update(ctx, state, "a", func(j Job) (Job, error) { return j, nil }); !errors.Is(err, rebind.ErrNotFound) {
			t.Errorf("an update without a value: %v", err)
		}
		op, err := jobs.Op("a", Job{Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		op.Put.Parent = "team/red"
		must(t, state, op)
		const many = 20
		var calls, failed atomic.Int64
		var group sync.WaitGroup
		for range many {
			group.Go(func() {
				_, err := jobs.Update(ctx, state, "a", func(j Job) (Job, error) {
					calls.Add(1)
					j.Runs++
					return j, nil
				})
				if err != nil {
					failed.Add(1)
				}
			})
		}
		group.Wait()
		e, err := jobs.Get(state.View(), "a")
		if err != nil || failed.Load() != 0 || e.Value != (Job{"ann", many}) || e.Parent != "team/red" {
			t.Errorf("%d failed, left %+v, %v", failed.Load(), e, err)
		}
		if calls.Load() == many {
			t.Error("no update had to try again: the test shows nothing")
		}
		enough := errors.New("enough")
		if _, err := jobs.Update(ctx, state, "a", func(Job) (Job, error) { return Job{}, enough }); err != enough {
			t.Errorf("a change that refuses: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = jobs.Update(short, state, "a", func(j Job) (Job, error) {
			must(t, state, putOp("job/a", `{"owner":"another writer"}`))
			return j, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("an update that always meets another writer: %v", err)
		}
	})
}

// Promise: an index finds what a scan of the same view finds, whatever happens between
// two calls.
func TestIndex_EqualsAScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, kind := new(scripted), rebind.JSON[int]("a")
		index := kind.Index(func(_ string, v int) []string {
			return []string{fmt.Sprint(v % 2), fmt.Sprint("over ", v > 3)}
		})
		check := func(v *rebind.View) {
			for _, key := range []string{"0", "1", "over true", "none"} {
				var want []rebind.Entry[int]
				for e, err := range kind.All(v) {
					if err == nil && (fmt.Sprint(e.Value%2) == key || fmt.Sprint("over ", e.Value > 3) == key) {
						want = append(want, e)
					}
				}
				if got := index.Get(v, key); !slices.Equal(got, want) {
					t.Errorf("at revision %d the index has %v under %q, a scan finds %v", v.Revision(), got, key, want)
				}
			}
		}
		names := []rebind.Name{"a/1", "a/2", "a/3", "b/1"}
		var views []*rebind.View
		for range rapid.IntRange(1, 40).Draw(t, "turns") {
			var ops []rebind.Op
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, len(names), rapid.ID[rebind.Name]).Draw(t, "names") {
				op := putOp(name, rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "{"}).Draw(t, "payload"))
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					op.Put = nil
				}
				ops = append(ops, op)
			}
			if _, err := state.Commit(context.Background(), rebind.Delta{Ops: ops}); err != nil {
				t.Fatal(err)
			}
			switch rapid.SampledFrom([]string{"look", "look", "look", "skip", "skip", "fault", "reload", "forget"}).Draw(t, "then") {
			case "skip": // the index does not see this view
				continue
			case "fault":
				state.fault(rapid.SampledFrom(names).Draw(t, "unreadable"))
			case "reload":
				state.reload()
			case "forget":
				state.known = state.at
			}
			views = append(views, state.View())
			check(state.View())
		}
		for _, v := range views { // some older than what the index has seen
			check(v)
		}
	})
}

// Promise: from one view to the next an index looks only at what has changed.
func TestIndex_LooksOnlyAtChanges(t *testing.T) {
	state := new(memory)
	const many = 1000
	for i := range many {
		must(t, state, putOp(rebind.Name(fmt.Sprintf("n/%04d", i)), fmt.Sprint(i)))
	}
	looked := 0
	index := rebind.JSON[int]("n").Index(func(_ string, v int) []string {
		looked++
		return []string{fmt.Sprint(v % 10)}
	})
	if n := len(index.Get(state.View(), "3")); n != many/10 || looked != many {
		t.Fatalf("%d found, %d looked at", n, looked)
	}
	must(t, state, putOp("n/0003", "4"))
	must(t, state, putOp("other/0003", "4"))
	if n := len(index.Get(state.View(), "3")); n != many/10-1 || looked != many+1 {
		t.Errorf("%d found, %d looked at, want one less and one more", n, looked)
	}
}

// A read of an unchanged value is a read of the view and a copy. Decoding it at each read
// is there for comparison.
func BenchmarkKind_Get(b *testing.B) {
	state, jobs := new(memory), rebind.JSON[Job]("job")
	if _, err := jobs.Put(b.Context(), state, "a", Job{Owner: "ann", Runs: 7}); err != nil {
		b.Fatal(err)
	}
	v := state.View()
	b.Run("kind", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if e, err := jobs.Get(v, "a"); err != nil || e.Value.Runs != 7 {
				b.Fatal(e, err)
			}
		}
	})
	b.Run("view-and-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, err := v.Get("job/a")
			if err != nil {
				b.Fatal(err)
			}
			var j Job
			if err := json.Unmarshal(m.Payload, &j); err != nil || j.Runs != 7 {
				b.Fatal(j, err)
			}
		}
	})
}
