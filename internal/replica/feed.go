package replica

import (
	"context"
	"fmt"
	"sort"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the recent past of a mirror, which those who follow it read. The mirror's
// goroutine writes it, under the mirror's lock; any goroutine reads.

const (
	// feedSteps and feedBytes bound what a mirror keeps of the past for those who
	// follow it: a follower that falls further behind has to begin anew.
	feedSteps = 10_000
	feedBytes = 64 << 20
)

// feed is the recent past of a mirror: the steps after base, in order, without a
// gap up to the mirror's revision. However many follow it, the store has one watch.
type feed struct {
	base  rebind.Revision
	steps []rebind.Step
	bytes int64
}

// restart forgets everything: the copy was loaded anew, at a revision.
func (f *feed) restart(at rebind.Revision) { *f = feed{base: at} }

// add takes in changes of whole revisions, in order, and forgets the oldest, but none
// after a revision: those the store's stream has still to repeat.
func (f *feed) add(changes []rebind.Change, heard rebind.Revision) {
	f.steps = appendSteps(f.steps, changes)
	for i := range changes {
		f.bytes += changes[i].Size()
	}
	drop := 0
	for f.full(drop) && f.steps[drop].Revision <= heard {
		for _, c := range f.steps[drop].Changes {
			f.bytes -= c.Size()
		}
		f.base = f.steps[drop].Revision
		drop++
	}
	f.steps = f.steps[drop:]
}

// full reports whether what is kept, but for the first steps, is too much.
func (f *feed) full(first int) bool {
	return len(f.steps)-first > feedSteps || f.bytes > feedBytes && first < len(f.steps)
}

// between returns the steps after a revision, up to another.
func (f *feed) between(after, to rebind.Revision) []rebind.Step {
	steps := f.steps[f.search(after):]
	for len(steps) > 0 && steps[len(steps)-1].Revision > to {
		steps = steps[:len(steps)-1]
	}
	return steps
}

// appendSteps adds changes, which are of whole revisions and in order, to steps.
func appendSteps(steps []rebind.Step, changes []rebind.Change) []rebind.Step {
	for _, c := range changes {
		if last := len(steps) - 1; last >= 0 && steps[last].Revision == c.Revision {
			steps[last].Changes = append(steps[last].Changes, c)
		} else {
			steps = append(steps, rebind.Step{Revision: c.Revision, Changes: []rebind.Change{c}})
		}
	}
	return steps
}

// after returns the steps after a revision; ok is false where some of them are no
// longer kept.
func (f *feed) after(r rebind.Revision) (steps []rebind.Step, ok bool) {
	if r < f.base {
		return nil, false
	}
	first := f.search(r)
	return f.steps[first:len(f.steps):len(f.steps)], true
}

// search finds the first step after a revision.
func (f *feed) search(r rebind.Revision) int {
	return sort.Search(len(f.steps), func(i int) bool { return f.steps[i].Revision > r })
}

// Steps blocks until the mirror has come further than the revision after, which it
// must have come to before, and returns what happened to mementos since, one step a
// revision, and the revision up to which that is complete. There may be no step in
// it: not every revision changes a memento. The steps are shared and must not be
// changed.
//
// It returns [driver.ErrCompacted] when not everything after that revision is kept, or when
// the mirror was loaded anew since; whoever follows then reads the view and begins
// again from its revision, or has [Mirror.Replay] tell. It returns [driver.ErrRestored] while
// the mirror shows a store that was replaced, and the cause of ctx if that ends first.
func (m *Mirror) Steps(ctx context.Context, after rebind.Revision) ([]rebind.Step, rebind.Revision, error) {
	for {
		m.mu.Lock()
		moved, refused := m.moved, m.refused
		at := m.Revision()
		steps, kept := m.feed.after(after)
		m.mu.Unlock()
		switch {
		case refused != nil:
			return nil, 0, refused
		case m.outlived():
			return nil, 0, driver.ErrRestored
		case at == 0: // not loaded yet
		case !kept:
			return nil, 0, fmt.Errorf("%w: changes after revision %d are no longer kept", driver.ErrCompacted, after)
		case at < after: // loaded anew from a store that went back
			return nil, 0, fmt.Errorf("%w: this copy is at revision %d, before %d", driver.ErrCompacted, at, after)
		case at > after:
			return steps, at, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}
