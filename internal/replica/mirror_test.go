package replica_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

func TestMirror_IsEmptyBeforeItRuns(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pass(time.Minute)
		m := l.mirror
		if m.View() != nil || m.Revision() != 0 || m.Staleness() != 0 || m.Progress() != (replica.Progress{}) {
			t.Errorf("view %v, revision %d, staleness %s, progress %v, want nothing", m.View(), m.Revision(), m.Staleness(), m.Progress())
		}
		select {
		case <-m.Loaded():
			t.Error("it is loaded")
		default:
		}
		if n := l.source.loads.Load() + l.source.heads.Load() + l.source.watches.Load(); n != 0 {
			t.Errorf("NewMirror made %d calls of the store", n)
		}
	})
}

func TestMirror_LoadsAndFollows(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = 250 // several pages
		for i := range many {
			l.put(rebind.Name(fmt.Sprintf("entity/%03d", i)), "v")
		}
		l.server.Put("entity/bad", rebind.Content{}, "garbage")
		l.load()
		v := l.mirror.View()
		if v.Len() != many || v.FaultCount() != 1 || v.Revision() != l.server.Revision() {
			t.Errorf("%d mementos and %d faults at %d, want %d and 1 at %d", v.Len(), v.FaultCount(), v.Revision(), many, l.server.Revision())
		}
		if p := l.mirror.Progress(); p != (replica.Progress{Loaded: many + 1, Total: many + 1}) {
			t.Errorf("progress = %+v, want all of %d", p, many+1)
		}
		rev := l.commit(putOp("entity/000", "new"), deleteOp("entity/001"), putOp("entity/bad", "healed"), putOp("policy/x", "1"))
		synctest.Wait()
		if got := l.mirror.Revision(); got != rev {
			t.Errorf("revision = %d, want %d", got, rev)
		}
		for name, want := range map[rebind.Name]string{"entity/000": "new", "entity/001": "", "entity/002": "v", "entity/bad": "healed", "policy/x": "1"} {
			l.reads(name, want)
		}
		if n := l.mirror.View().FaultCount(); n != 0 {
			t.Errorf("%d faults, want the memento healed by the put", n)
		}
		if v.Len() != many || v.FaultCount() != 1 {
			t.Error("the view taken before has changed")
		}
		if n := l.source.loads.Load(); n != 1 {
			t.Errorf("loaded %d times", n)
		}
	})
}

func TestMirror_ShowsProgressOfALoad(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for i := range 250 {
			l.put(rebind.Name(fmt.Sprintf("entity/%03d", i)), "v")
		}
		next := make(chan struct{})
		l.source.beforePage = func() { <-next }
		l.run()
		for _, want := range []int64{0, 100, 200} {
			synctest.Wait()
			if got := l.mirror.Progress().Loaded; got != want || l.mirror.View() != nil {
				t.Errorf("%d loaded and a view %v, want %d and none", got, l.mirror.View(), want)
			}
			next <- struct{}{}
		}
		synctest.Wait()
		if got := l.mirror.Progress(); got != (replica.Progress{Loaded: 250, Total: 250}) || l.mirror.View() == nil {
			t.Errorf("progress = %+v, want all", got)
		}
	})
}

func TestMirror_RetriesALoadThatFails(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		var tries int
		l.source.beforeLoad = func() error {
			if tries++; tries < 20 {
				return rebind.ErrUnavailable
			}
			return nil
		}
		l.run()
		if err := l.mirror.Reach(l.within(time.Minute), 1); err != nil {
			t.Fatalf("not loaded within a minute: %v", err)
		}
		l.reads("entity/x", "1")
	})
}

// Promise: a delta becomes visible whole or not at all.
func TestMirror_NeverShowsHalfADelta(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.NumCPU()))) // readers have to run beside the mirror
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		const wide, rounds = 100, 150
		for range 2 {
			l.group.Go(func() {
				for l.ctx.Err() == nil {
					counts := make(map[string]int)
					v := l.mirror.View()
					for m := range v.From("") {
						counts[string(m.Payload)]++
					}
					if len(counts) > 1 {
						t.Errorf("view of revision %d shows several deltas: %v", v.Revision(), counts)
						return
					}
					runtime.Gosched()
				}
			})
		}
		ops := make([]rebind.Op, wide)
		for round := range rounds {
			for i := range ops {
				ops[i] = putOp(rebind.Name("entity/"+strconv.Itoa(i)), strconv.Itoa(round))
			}
			rev := l.commit(ops...)
			if err := l.mirror.Reach(l.ctx, rev); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Promise: after compaction the mirror reloads, serving the old copy with its
// staleness until the new one is complete.
func TestMirror_ReloadsBehindTheOldCopy(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for i := range 250 {
			l.put(rebind.Name(fmt.Sprintf("entity/%03d", i)), "old")
		}
		l.load()
		old := l.mirror.View()
		l.server.Cut("reader")
		l.commit(putOp("entity/000", "new"), deleteOp("entity/001"))
		l.put("entity/000", "newer")
		l.server.Compact()
		gate := make(chan struct{})
		l.source.beforePage = func() { <-gate }
		l.server.Heal("reader")
		pass(time.Minute)
		if l.source.loads.Load() != 2 || l.mirror.View() != old {
			t.Errorf("%d loads, view of revision %d, want the old view while the second load is under way", l.source.loads.Load(), l.mirror.Revision())
		}
		if got := l.mirror.Staleness(); got < time.Minute {
			t.Errorf("staleness = %s while the mirror reloads, want at least a minute", got)
		}
		close(gate)
		synctest.Wait()
		if l.mirror.Revision() != l.server.Revision() || l.mirror.Staleness() > 2*time.Minute {
			t.Errorf("revision %d of %d, want the new copy", l.mirror.Revision(), l.server.Revision())
		}
		l.reads("entity/000", "newer")
		l.reads("entity/001", "")
		pass(2 * time.Second)
		if got := l.mirror.Staleness(); got > 1100*time.Millisecond {
			t.Errorf("staleness = %s after the reload", got)
		}
		if payloadIn(old, "entity/000") != "old" || payloadIn(old, "entity/001") != "old" {
			t.Error("the old view has changed")
		}
	})
}

func TestMirror_ServesWhileCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.load()
		l.server.Cut("reader")
		l.put("entity/x", "2")
		last := l.mirror.Staleness()
		for range 10 {
			pass(time.Minute)
			now := l.mirror.Staleness()
			if grown := now - last; grown < 59*time.Second || grown > 61*time.Second {
				t.Errorf("staleness grew by %s in a minute", grown)
			}
			last = now
			l.reads("entity/x", "1")
		}
		l.server.Heal("reader")
		pass(5 * time.Second)
		l.reads("entity/x", "2")
		if got := l.mirror.Staleness(); got > 1100*time.Millisecond {
			t.Errorf("staleness = %s, want the copy confirmed again", got)
		}
		if n := l.source.loads.Load(); n != 1 {
			t.Errorf("loaded %d times, want the copy kept", n)
		}
	})
}

// Promise: no event is lost or applied twice when a watch breaks.
func TestMirror_ResumesAWatchThatBreaks(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		for i := range 30 {
			payload := strconv.Itoa(i)
			l.source.breakWatch(errors.New("connection lost"))
			if i%2 == 0 {
				synctest.Wait() // without, the change and the break arrive together
			}
			rev := l.commit(putOp("entity/x", payload), putOp(rebind.Name("entity/"+payload), payload))
			if err := l.mirror.Reach(l.within(time.Minute), rev); err != nil {
				t.Fatalf("revision %d not reached within a minute: %v", rev, err)
			}
			l.reads("entity/x", payload)
			if n := l.mirror.View().Len(); n != i+2 {
				t.Fatalf("%d mementos, want %d", n, i+2)
			}
			pass(2 * time.Second) // the next watch is open
		}
		if l.source.loads.Load() != 1 || l.source.watches.Load() < 30 {
			t.Errorf("%d loads and %d watches, want one load and a watch each time", l.source.loads.Load(), l.source.watches.Load())
		}
	})
}

// Promise: a hot node confirms its copy once a second, and never by writing.
func TestMirror_StaysFreshWhileIdle(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.nudge() // the store is ahead of the last memento
		l.load()
		before := l.server.Revision()
		for range 600 {
			pass(500 * time.Millisecond)
			if got := l.mirror.Staleness(); got > 1100*time.Millisecond {
				t.Fatalf("staleness = %s while nothing happens", got)
			}
		}
		if after := l.server.Revision(); after != before {
			t.Errorf("the store went from revision %d to %d", before, after)
		}
		if n := l.source.heads.Load(); n > 310 {
			t.Errorf("asked %d times in 300 s", n)
		}
	})
}

// Promise: staleness counts from the sending of the read that confirmed the copy,
// not from its answer: what changed in between may be missing.
func TestMirror_StalenessCountsFromTheSending(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const slow = 1500 * time.Millisecond
		l.source.slow = slow
		l.source.beforeLoad = func() error { <-time.After(slow); return nil }
		l.run()
		<-l.mirror.Loaded()
		least, most := l.mirror.Staleness(), time.Duration(0)
		for range 200 {
			pass(100 * time.Millisecond)
			least, most = min(least, l.mirror.Staleness()), max(most, l.mirror.Staleness())
		}
		if least < slow || most > 2*slow+1100*time.Millisecond {
			t.Errorf("staleness was between %s and %s with answers that take %s", least, most, slow)
		}
	})
}

// feed is a store of which a test says what its watch brings.
type feed struct {
	shelf
	quiet
	batches chan driver.Batch
}

func (f *feed) Watch(context.Context, rebind.Revision) driver.Watcher { return f }

func (f *feed) Next(ctx context.Context) (driver.Batch, error) {
	select {
	case b := <-f.batches:
		return b, nil
	case <-ctx.Done():
		return driver.Batch{}, context.Cause(ctx)
	}
}

// Promise: revisions never go backwards. etcd's notices of progress can be older
// than the changes sent before them.
func TestMirror_IgnoresNoticesOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{shelf: shelf{at: 10}, batches: make(chan driver.Batch)}
		m := replica.NewMirror(f, rebind.Rules{}, zap.NewNop())
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = m.Run(ctx) }) // the cause is the cancel below
		defer running.Wait()
		defer cancel()
		x := rebind.Memento{Name: "entity/x", Modified: 12}
		for _, c := range []struct {
			name  string
			batch driver.Batch
			want  rebind.Revision
		}{
			{"a notice older than the load", driver.Batch{Revision: 9}, 10},
			{"a change", driver.Batch{Revision: 12, Changes: []rebind.Change{{Name: "entity/x", Memento: &x, Revision: 12}}}, 12},
			{"a notice of what is known", driver.Batch{Revision: 12}, 12},
			{"a notice of the past", driver.Batch{Revision: 11}, 12},
			{"a notice of progress", driver.Batch{Revision: 15}, 15},
		} {
			f.batches <- c.batch
			synctest.Wait()
			if got := m.Revision(); got != c.want {
				t.Errorf("after %s: revision = %d, want %d", c.name, got, c.want)
			}
		}
		if m.View().Len() != 1 {
			t.Errorf("%d mementos, want the one that came", m.View().Len())
		}
	})
}

func TestMirror_Reach(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.mirror.Reach(l.within(time.Second), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reach without a copy = %v, want its deadline", err)
		}
		l.load()
		next := l.server.Revision() + 1
		early := make(chan error, 1)
		l.group.Go(func() { early <- l.mirror.Reach(l.ctx, next) })
		synctest.Wait()
		if len(early) != 0 {
			t.Fatalf("reach returned %v before the revision was made", <-early)
		}
		l.put("entity/x", "1")
		synctest.Wait()
		if len(early) != 1 {
			t.Fatal("reach does not return")
		}
		if err := <-early; err != nil || l.mirror.Revision() != next {
			t.Errorf("reach = %v at %d, want %d reached", err, l.mirror.Revision(), next)
		}
		if err := l.mirror.Reach(l.ctx, next-1); err != nil {
			t.Errorf("reach of the past = %v", err)
		}
		ctx, cancel := context.WithCancelCause(l.ctx)
		cancel(errEnd)
		if err := l.mirror.Reach(ctx, next+1); !errors.Is(err, errEnd) {
			t.Errorf("reach = %v, want the cause of its context", err)
		}
	})
}

func TestMirror_CatchUp(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		for range 20 {
			at := l.nudge()
			began := time.Now()
			if err := l.mirror.CatchUp(l.within(time.Minute), at); err != nil {
				t.Fatalf("revision %d, which changed no memento, not reached: %v", at, err)
			}
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("it took %s, want it asked for at once", took)
			}
			if got := l.mirror.Revision(); got < at {
				t.Errorf("revision = %d, want %d", got, at)
			}
			pass(700 * time.Millisecond) // drifts against the mirror's own second
		}
		if err := l.mirror.CatchUp(l.within(5*time.Second), l.server.Revision()+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("catching up with the future = %v, want its deadline", err)
		}
	})
}

func TestMirror_CatchUpWithoutAStore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.load()
		seen := l.mirror.Revision()
		l.server.Cut("reader")
		at := l.nudge()
		if err := l.mirror.CatchUp(l.ctx, seen); err != nil {
			t.Errorf("catching up with what is here = %v", err)
		}
		if err := l.mirror.CatchUp(l.within(time.Minute), at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("catching up with what cannot be seen = %v, want its deadline", err)
		}
		l.server.Heal("reader")
		if err := l.mirror.CatchUp(l.within(5*time.Second), at); err != nil {
			t.Errorf("catching up with the store back = %v", err)
		}
	})
}

func TestMirror_RunReturnsTheCause(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(l *lab)
		wait   time.Duration
	}{
		{"while it follows", func(*lab) {}, 3 * time.Second},
		{"while the store does not answer its load", func(l *lab) { l.server.Cut("reader") }, time.Second},
		{"while it waits to load again", func(l *lab) {
			l.source.beforeLoad = func() error { return rebind.ErrUnavailable }
		}, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c.before(l)
				l.run()
				pass(c.wait)
				began := time.Now()
				if err := l.stop(errEnd); !errors.Is(err, errEnd) {
					t.Errorf("run = %v, want the cause of its context", err)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %s to return", took)
				}
			})
		})
	}
}
