package replica

import (
	"sort"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the recent past of a mirror, for callers that follow it. All of it is guarded by
// the mirror's mu.

const (
	// feedSteps and feedBytes bound the changes that a mirror keeps for callers that follow
	// it. A caller that falls further behind has to begin anew.
	feedSteps = 10_000
	feedBytes = 64 << 20
)

// feed is the recent past of a mirror: the steps after base, in order, without a gap up to
// the mirror's revision. However many callers follow it, the store has one watch.
type feed struct {
	base  rebind.Revision
	steps []rebind.Changeset
	bytes int64
}

// restart empties the feed: the copy was loaded anew, at a revision.
func (f *feed) restart(at rebind.Revision) { *f = feed{base: at} }

// add appends changes, which are of whole revisions and in order. It drops the oldest steps
// if there are too many, but none after the revision streamed: the watch has still to
// repeat those.
func (f *feed) add(changes []rebind.Change, streamed rebind.Revision) {
	f.steps = appendSteps(f.steps, changes)
	for i := range changes {
		f.bytes += changes[i].Size()
	}
	drop := 0
	for f.full(drop) && f.steps[drop].Revision <= streamed {
		for _, c := range f.steps[drop].Changes {
			f.bytes -= c.Size()
		}
		f.base = f.steps[drop].Revision
		drop++
	}
	f.steps = f.steps[drop:]
}

// full reports whether too much is kept, not counting the first steps.
func (f *feed) full(first int) bool {
	return len(f.steps)-first > feedSteps || f.bytes > feedBytes && first < len(f.steps)
}

// between returns the steps after a revision, up to another.
func (f *feed) between(after, to rebind.Revision) []rebind.Changeset {
	steps := f.steps[f.search(after):]
	for len(steps) > 0 && steps[len(steps)-1].Revision > to {
		steps = steps[:len(steps)-1]
	}
	return steps
}

// after returns the steps after a revision; ok is false if some of them are no longer kept.
func (f *feed) after(r rebind.Revision) (steps []rebind.Changeset, ok bool) {
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

// appendSteps appends changes, which are of whole revisions and in order, to steps.
func appendSteps(steps []rebind.Changeset, changes []rebind.Change) []rebind.Changeset {
	for _, c := range changes {
		if last := len(steps) - 1; last >= 0 && steps[last].Revision == c.Revision {
			steps[last].Changes = append(steps[last].Changes, c)
		} else {
			steps = append(steps, rebind.Changeset{Revision: c.Revision, Changes: []rebind.Change{c}})
		}
	}
	return steps
}
