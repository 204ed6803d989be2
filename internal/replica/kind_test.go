package replica_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// job is a program's own type.
type job struct {
	Owner string `json:"owner"`
	Runs  int    `json:"runs"`
}

// shared is state as a program that leads has it.
type shared struct {
	*replica.Persister
	mirror *replica.Mirror
}

func (s shared) View() *rebind.View { return s.mirror.View() }

func (l *lab) shared() shared { return shared{l.persister(), l.mirror} }

func TestKind_ReadsWhatItWrote(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		state, jobs := l.shared(), rebind.JSON[job]("job")
		first, err := jobs.Put(l.ctx, state, "nightly", job{"ann", 1}, rebind.Absent)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jobs.Put(l.ctx, state, "nightly", job{"bob", 9}, rebind.Absent); !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("a second one is %v, want a conflict", err)
		}
		l.must(state.Persister, putOp("jobs/other", "of another type"), putOp("job/broken", "{"))
		if _, err := jobs.Put(l.ctx, state, "hourly", job{"cy", 2}); err != nil {
			t.Fatal(err)
		}
		got, err := jobs.Get(state.View(), "nightly")
		if want := (rebind.Entry[job]{ID: "nightly", Value: job{"ann", 1}, Modified: first.Revision}); err != nil || got != want {
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
		if _, err := jobs.Delete(l.ctx, state, "nightly", first.Revision+1); !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("deleting what it is not: %v, want a conflict", err)
		}
		if _, err := jobs.Delete(l.ctx, state, "nightly", first.Revision); err != nil {
			t.Error(err)
		}
		if _, err := jobs.Get(state.View(), "nightly"); !errors.Is(err, rebind.ErrNotFound) {
			t.Errorf("reading what was deleted: %v", err)
		}
		if _, err := rebind.JSON[job]("No Type").Put(l.ctx, state, "x", job{}); !errors.Is(err, rebind.ErrInvalid) {
			t.Errorf("a type that cannot be one: %v", err)
		}
		if _, err := rebind.JSON[func()]("f").Put(l.ctx, state, "x", nil); err == nil || !strings.Contains(err.Error(), "f/x") {
			t.Errorf("a value that cannot be encoded: %v", err)
		}
	})
}

// counting is JSON that counts how often it decodes.
type counting struct{ decoded *atomic.Int64 }

func (counting) ContentType() string          { return "application/json" }
func (counting) Encode(v job) ([]byte, error) { return json.Marshal(v) }
func (c counting) Decode(p []byte) (v job, err error) {
	c.decoded.Add(1)
	return v, json.Unmarshal(p, &v)
}

// Promise: a value is decoded once for each revision of its memento, and not before it
// is read.
func TestKind_DecodesOnceARevision(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		var decoded atomic.Int64
		state, jobs := l.shared(), rebind.NewKind("job", counting{&decoded})
		for i := range 3 {
			if _, err := jobs.Put(l.ctx, state, "a", job{Runs: i}); err != nil {
				t.Fatal(err)
			}
			l.must(state.Persister, putOp("noise/x", fmt.Sprint(i))) // another revision, of another memento
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
		l.must(state.Persister, putOp("job/b", "{"))
		for range 10 {
			for range jobs.All(state.View()) {
			}
		}
		if n := decoded.Load(); n != 2 {
			t.Errorf("decoded %d times, want once for each of two", n)
		}
		if _, err := jobs.Put(l.ctx, state, "a", job{Runs: 7}); err != nil {
			t.Fatal(err)
		}
		now, _ := jobs.Get(state.View(), "a")
		before, _ := jobs.Get(old, "a")
		if now.Value.Runs != 7 || before.Value.Runs != 2 {
			t.Errorf("reads %d now and %d in the view of before", now.Value.Runs, before.Value.Runs)
		}
	})
}

func TestKind_UpgradesAtRead(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		state := l.shared()
		v0 := rebind.JSON[map[string]string]("job")
		if _, err := v0.Put(l.ctx, state, "old", map[string]string{"who": "ann"}); err != nil {
			t.Fatal(err)
		}
		jobs := rebind.JSON[job]("job",
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
			t.Errorf("what is stored became %s, schema %d", m.Payload, m.Schema)
		}
		if _, err := jobs.Update(l.ctx, state, "old", func(j job) (job, error) { j.Runs++; return j, nil }); err != nil {
			t.Fatal(err)
		}
		if m, _ := state.View().Get("job/old"); m.Schema != 2 {
			t.Errorf("stored under schema %d, want 2", m.Schema)
		}
		if _, err := v0.Get(state.View(), "old"); !errors.Is(err, rebind.ErrQuarantined) || !strings.Contains(err.Error(), "newer") {
			t.Errorf("an older program reads it: %v", err)
		}
		if _, err := v0.Put(l.ctx, state, "odd", map[string]string{}); err != nil {
			t.Fatal(err)
		}
		if _, err := jobs.Get(state.View(), "odd"); !errors.Is(err, rebind.ErrQuarantined) || !strings.Contains(err.Error(), "schema version 1: no user") {
			t.Errorf("an upgrade that fails: %v", err)
		}
	})
}

// Promise: updates of many lose nothing.
func TestKind_UpdateTriesAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		state, jobs := l.shared(), rebind.JSON[job]("job")
		if _, err := jobs.Update(l.ctx, state, "a", func(j job) (job, error) { return j, nil }); !errors.Is(err, rebind.ErrNotFound) {
			t.Errorf("an update of nothing: %v", err)
		}
		op, err := jobs.Op("a", job{Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		op.Put.Parent = "team/red"
		l.must(state.Persister, op)
		const many = 20
		var calls, failed atomic.Int64
		for range many {
			l.group.Go(func() {
				_, err := jobs.Update(l.ctx, state, "a", func(j job) (job, error) {
					calls.Add(1)
					j.Runs++
					return j, nil
				})
				if err != nil {
					failed.Add(1)
				}
			})
		}
		synctest.Wait()
		pass(time.Minute)
		e, err := jobs.Get(state.View(), "a")
		if err != nil || failed.Load() != 0 || e.Value != (job{"ann", many}) || e.Parent != "team/red" {
			t.Errorf("%d failed, left %+v, %v", failed.Load(), e, err)
		}
		if calls.Load() == many {
			t.Error("nobody had to try again: the test shows nothing")
		}
		enough := errors.New("enough")
		if _, err := jobs.Update(l.ctx, state, "a", func(job) (job, error) { return job{}, enough }); err != enough {
			t.Errorf("a change that refuses: %v", err)
		}
		ctx, cancel := context.WithTimeout(l.ctx, time.Second)
		defer cancel()
		_, err = jobs.Update(ctx, state, "a", func(j job) (job, error) {
			l.put("job/a", `{"owner":"a stranger"}`)
			synctest.Wait()
			return j, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("an update that always comes too late: %v", err)
		}
	})
}

// Promise: an index tells what a scan of the same view tells, whatever happens between
// two questions.
func TestIndex_EqualsAScan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		history := moves(rt)
		inLab(t, func(t *testing.T, l *lab) {
			l.load()
			kind := rebind.JSON[int]("a")
			var told atomic.Int64
			index := kind.Index(func(_ string, v int) []string {
				told.Add(1)
				return []string{fmt.Sprint(v % 2), fmt.Sprint("over ", v > 3)}
			})
			var views []*rebind.View
			ask := func(v *rebind.View) {
				for _, key := range []string{"0", "1", "over true", "none"} {
					var want []rebind.Entry[int]
					for e, err := range kind.All(v) {
						if err == nil && (fmt.Sprint(e.Value%2) == key || fmt.Sprint("over ", e.Value > 3) == key) {
							want = append(want, e)
						}
					}
					if got := index.Get(v, key); !slices.Equal(got, want) {
						rt.Errorf("at revision %d the index has %v under %q, a scan finds %v", v.Revision(), got, key, want)
					}
				}
			}
			m := make(model)
			for turn, mv := range history {
				l.play(m, mv, turn)
				synctest.Wait()
				views = append(views, l.mirror.View())
				ask(l.mirror.View())
			}
			for _, v := range views { // some older than what the index has seen
				ask(v)
			}
		})
	})
}

// Promise: from one view to the next an index looks at what has changed alone.
func TestIndex_LooksAtChangesAlone(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = 1000
		for i := range many {
			l.put(rebind.Name(fmt.Sprintf("n/%04d", i)), fmt.Sprint(i))
		}
		l.load()
		kind := rebind.JSON[int]("n")
		told := 0
		index := kind.Index(func(_ string, v int) []string {
			told++
			return []string{fmt.Sprint(v % 10)}
		})
		if n := len(index.Get(l.mirror.View(), "3")); n != many/10 || told != many {
			t.Fatalf("%d found, %d looked at", n, told)
		}
		l.put("n/0003", "4")
		l.put("other/0003", "4")
		synctest.Wait()
		if n := len(index.Get(l.mirror.View(), "3")); n != many/10-1 || told != many+1 {
			t.Errorf("%d found, %d looked at, want one less and one more", n, told)
		}
	})
}

// A read of an unchanged value is a read of the view and a copy; decoding it each time
// is there to compare.
func BenchmarkKind_Get(b *testing.B) {
	d := &rebind.Draft{}
	d.Load(rebind.Change{Name: "job/a", Memento: &rebind.Memento{Name: "job/a", Content: rebind.Content{Payload: []byte(`{"owner":"ann","runs":7}`)}}})
	v := d.View(1, nil)
	jobs := rebind.JSON[job]("job")
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
			var j job
			if err := json.Unmarshal(m.Payload, &j); err != nil || j.Runs != 7 {
				b.Fatal(j, err)
			}
		}
	})
}
