package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Job is something to do every so often.
type Job struct {
	Name  string // a memento id: letters, digits and . _ ~ -
	Every time.Duration
	// Do does the work that was due at a time. It should return when ctx ends: another node may
	// do the next run then.
	Do func(ctx context.Context, due time.Time) error
}

// RunOutcome is what became of a run.
type RunOutcome string

// The outcomes.
const (
	Started RunOutcome = "started" // no outcome yet
	Done    RunOutcome = "done"
	Failed  RunOutcome = "failed"
	// Unknown is a run whose node went before it could record an outcome. It may have done
	// everything, a part, or nothing; the scheduler does not do it again. A person decides.
	Unknown RunOutcome = "unknown"
)

// Run is one run of a job, as it is stored.
type Run struct {
	Job     string
	Due     time.Time
	Node    string
	Term    int64
	Outcome RunOutcome
	Error   string `json:",omitempty"`
}

// id is the id of a run's memento: ids of one job are in the order of their times.
func (r *Run) id() string { return r.Job + "~" + r.Due.UTC().Format("20060102T150405Z") }

var runs = rebind.JSON[Run]("run")

const (
	// keep is how many runs of a job are kept; maxDeletes is how many are deleted at a time.
	keep, maxDeletes = 100, 10
	// retryEvery is the pause before what could not be recorded is tried again.
	retryEvery = time.Second
	// recordTimeout is how long it may take to record the outcome of a run whose term ends.
	recordTimeout = 2 * time.Second
)

// Scheduler runs jobs on whichever node is master.
type Scheduler struct {
	Node string
	Jobs []Job
}

// Lead is the program of a node, for coordinator.Config.Lead.
func (s *Scheduler) Lead(ctx context.Context, l *coordinator.Leader) error {
	// Runs that an earlier term left without outcome have the outcome unknown. This comes
	// before any new run: otherwise a run of this term could be taken for one of them.
	for e, err := range runs.All(l.View()) {
		if err != nil {
			return err
		}
		if e.Value.Outcome != Started {
			continue
		}
		e.Value.Outcome, e.Value.Error = Unknown, fmt.Sprintf("its node %s lost term %d", e.Value.Node, e.Value.Term)
		if _, err := runs.Put(ctx, l, e.ID, e.Value, e.Modified); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		job, due := s.next(l.View())
		select {
		case <-time.After(time.Until(due)):
			if err := s.run(ctx, l, job, due); err != nil && ctx.Err() == nil {
				log.Printf("%s due at %s: %v", job.Name, due, err)
				select {
				case <-time.After(retryEvery):
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
		}
	}
	return nil
}

// next returns the job that is due first, and when. A run that was due while there was no master
// is due still: none is left out.
func (s *Scheduler) next(v *rebind.View) (next *Job, due time.Time) {
	for i := range s.Jobs {
		job := &s.Jobs[i]
		at := time.Now().Truncate(job.Every) // for a job that is new
		for e, err := range runs.List(v, job.Name+"~") {
			if err == nil {
				at = e.Value.Due.Add(job.Every)
			}
		}
		if next == nil || at.Before(due) {
			next, due = job, at
		}
	}
	return next, due
}

// run does one run: it records that the run has started, does it, and records its outcome. What
// becomes of the run if the node goes
//
//   - before the first record: it is due still, and the next master does it.
//   - between the records: the next master finds it without outcome, and makes that unknown.
//   - after the second record: it has its outcome.
func (s *Scheduler) run(ctx context.Context, l *coordinator.Leader, job *Job, due time.Time) error {
	r := Run{Job: job.Name, Due: due, Node: s.Node, Term: l.Term(), Outcome: Started}
	if err := commit(ctx, l, &r, rebind.Absent); err != nil {
		return err
	}
	r.Outcome = Done
	if err := job.Do(ctx, due); err != nil {
		r.Outcome, r.Error = Failed, err.Error()
	}
	// A job that was stopped for a handover has an outcome too, and there is time to record it.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return commit(last, l, &r, rebind.Present, s.old(l.View(), job)...)
}

// old returns operations that delete all but the latest runs of a job.
func (s *Scheduler) old(v *rebind.View, job *Job) (deletes []rebind.Op) {
	for e := range runs.List(v, job.Name+"~") {
		deletes = append(deletes, rebind.Op{Name: rebind.Name("run/" + e.ID)})
	}
	return deletes[:max(0, min(len(deletes)-keep, maxDeletes))]
}

// commit stores a run as it is. An answer that was lost does not matter: the delta has an id, so
// that it can be sent again and is stored once.
func commit(ctx context.Context, l *coordinator.Leader, r *Run, expect rebind.Revision, with ...rebind.Op) error {
	op, err := runs.Op(r.id(), *r, expect)
	if err != nil {
		return err
	}
	d := rebind.Delta{ID: fmt.Sprintf("%s/%s/%d", r.id(), r.Outcome, r.Term), Ops: append(with, op)}
	for {
		_, err := l.Commit(ctx, d)
		if !errors.Is(err, rebind.ErrUnknown) && !errors.Is(err, rebind.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return err
		}
	}
}
