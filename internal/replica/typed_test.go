package replica_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// These are the promises of typed state that depend on the views of a mirror. The others are
// tested in package rebind.

// job is a program's own type.
type job struct {
	Owner string `json:"owner"`
	Runs  int    `json:"runs"`
}

// shared is the state as a program that leads has it.
type shared struct {
	*replica.Persister
	mirror *replica.Mirror
}

func (s shared) View() *rebind.View { return s.mirror.View() }

func (l *lab) shared() shared { return shared{l.persister(), l.mirror} }

// counting is JSON that counts how often it decodes.
type counting struct{ decoded *atomic.Int64 }

func (counting) ContentType() string          { return "application/json" }
func (counting) Encode(v job) ([]byte, error) { return json.Marshal(v) }
func (c counting) Decode(p []byte) (v job, err error) {
	c.decoded.Add(1)
	return v, json.Unmarshal(p, &v)
}

// Promise: a value is decoded once for each revision of its memento, and not before it
// is read: also where the watch repeats a write that the mirror has shown already.
func TestKind_DecodesOncePerRevisionOfAMirror(t *testing.T) {
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
			t.Errorf("reads %d now and %d in the earlier view", now.Value.Runs, before.Value.Runs)
		}
	})
}

// Promise: an index finds what a scan of the same view of a mirror finds, whatever happens to
// the mirror between two calls.
func TestIndex_EqualsAScanOfAMirror(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		history := moves(rt)
		inLab(t, func(t *testing.T, l *lab) {
			l.load()
			kind := rebind.JSON[int]("a")
			index := kind.Index(func(_ string, v int) []string {
				return []string{fmt.Sprint(v % 2), fmt.Sprint("over ", v > 3)}
			})
			var views []*rebind.View
			check := func(v *rebind.View) {
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
				check(l.mirror.View())
			}
			for _, v := range views { // some older than what the index has seen
				check(v)
			}
		})
	})
}

// Promise: from one view of a mirror to the next an index looks only at what has changed.
func TestIndex_LooksOnlyAtChangesOfAMirror(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = 1000
		for i := range many {
			l.put(rebind.Name(fmt.Sprintf("n/%04d", i)), fmt.Sprint(i))
		}
		l.load()
		kind := rebind.JSON[int]("n")
		looked := 0
		index := kind.Index(func(_ string, v int) []string {
			looked++
			return []string{fmt.Sprint(v % 10)}
		})
		if n := len(index.Get(l.mirror.View(), "3")); n != many/10 || looked != many {
			t.Fatalf("%d found, %d looked at", n, looked)
		}
		l.put("n/0003", "4")
		l.put("other/0003", "4")
		synctest.Wait()
		if n := len(index.Get(l.mirror.View(), "3")); n != many/10-1 || looked != many+1 {
			t.Errorf("%d found, %d looked at, want one less and one more", n, looked)
		}
	})
}
