package main

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/modes"
)

// world is what jobs change outside the plane: how often the work due at each time was begun and
// completed.
type world struct {
	mu          sync.Mutex // guards the fields below
	begun, done map[time.Time]int
}

func (w *world) count(m map[time.Time]int, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m[due.UTC()]++
}

// every is how often the work is due: a failover takes longer than two of these, so that runs are due meanwhile.
const every = 3 * time.Second

// Nodes are killed, frozen, cut off and asked to hand over in the middle of runs. Every time that
// was due has one run with an outcome; what is done was done once; what was cut short is unknown
// or failed, and was not done again.
func TestScheduler_NeitherLosesNorDoublesARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{begun: make(map[time.Time]int), done: make(map[time.Time]int)}
		start := func(plane *coordtest.Plane, id string) *coordtest.Node {
			s := &Scheduler{Node: id, Jobs: []Job{{Name: "work", Every: every, Do: func(ctx context.Context, due time.Time) error {
				w.count(w.begun, due)
				select {
				case <-time.After(2 * time.Second):
					w.count(w.done, due)
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}}}}
			return plane.Start(coordinator.Config{ID: id, Lead: s.Lead})
		}
		plane := coordtest.New(t)
		a := start(plane, "a")
		a.AwaitState(modes.StateMaster, time.Minute)
		start(plane, "b").AwaitState(modes.StateHotStandby, time.Minute)
		first := time.Now().Truncate(every)

		// begins waits until a run that is due later than now has begun.
		begins := func() {
			t.Helper()
			w.mu.Lock()
			before := len(w.begun)
			w.mu.Unlock()
			plane.Await(time.Minute, func() error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(w.begun) == before {
					return context.DeadlineExceeded
				}
				return nil
			})
		}
		faults := map[string]func(master *coordtest.Node){
			"kill":      func(m *coordtest.Node) { m.Kill(); start(plane, m.ID()) },
			"expire":    func(m *coordtest.Node) { m.Expire() },
			"partition": func(m *coordtest.Node) { m.Partition(); plane.Pass(30 * time.Second); m.Heal() },
			"freeze":    func(m *coordtest.Node) { m.Freeze(); plane.Pass(30 * time.Second); m.Thaw() },
			"handover": func(m *coordtest.Node) {
				if _, err := m.Handover(t.Context(), ""); err != nil {
					t.Error(err)
				}
			},
		}
		for _, name := range []string{"kill", "handover", "freeze", "partition", "expire", "kill"} {
			plane.Pass(25 * time.Second)
			begins()
			plane.Pass(time.Second) // in the middle of it
			faults[name](plane.AwaitMaster(time.Minute))
			plane.AwaitMaster(time.Minute)
		}
		plane.Pass(30 * time.Second)
		last := time.Now().Add(-10 * time.Second)

		w.check(t, plane.AwaitMaster(time.Minute), first, last)
	})
}

// check compares what was recorded at a node of the runs due from first to last with what was done.
func (w *world) check(t *testing.T, at *coordtest.Node, first, last time.Time) {
	outcomes := make(map[RunOutcome]int)
	recorded := make(map[time.Time]RunOutcome)
	for e, err := range runs.All(at.View()) {
		if err != nil {
			t.Fatal(err)
		}
		recorded[e.Value.Due.UTC()] = e.Value.Outcome
		outcomes[e.Value.Outcome]++
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for due := first.UTC(); due.Before(last); due = due.Add(every) {
		switch outcome := recorded[due]; {
		case outcome == "":
			t.Errorf("the run due at %s is lost", due)
		case w.begun[due] > 1:
			t.Errorf("the run due at %s was begun %d times", due, w.begun[due])
		case outcome == Done && w.done[due] != 1:
			t.Errorf("the run due at %s is recorded as done, and was done %d times", due, w.done[due])
		case outcome == Started:
			t.Errorf("the run due at %s has no outcome", due)
		}
	}
	if outcomes[Unknown] == 0 || outcomes[Done] < 10 || outcomes[Failed] == 0 {
		t.Errorf("outcomes = %v, want some of each: the faults have missed", outcomes)
	}
}

// Old runs are deleted, so that the state does not grow for ever.
func TestScheduler_KeepsTheLatestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := coordtest.New(t)
		s := &Scheduler{Node: "a", Jobs: []Job{{Name: "work", Every: time.Second, Do: func(context.Context, time.Time) error { return nil }}}}
		a := plane.Start(coordinator.Config{ID: "a", Lead: s.Lead})
		a.AwaitState(modes.StateMaster, time.Minute)
		plane.Pass(3 * keep * time.Second)
		if n := a.View().Len(); n < keep || n > keep+1 {
			t.Errorf("%d runs are kept, want %d", n, keep)
		}
	})
}
