package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// A laboratory on a shared machine has to know when the machine itself stood still: then
// every process did, and none is to blame for it.

const (
	// beat is how often the machine's pulse is checked.
	beat = 20 * time.Millisecond
	// stalled is how long a beat must be missing to count.
	stalled = 400 * time.Millisecond
)

// feelPulse records when this machine stands still, until ctx ends.
func (f *Fleet) feelPulse(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for last := f.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := f.Now()
		if now-last > stalled {
			f.note(func(run *evidence.Run) {
				f.stalls = append(f.stalls, span{last, now})
				run.Faults = append(run.Faults, evidence.Fault{
					What: "stall", Target: evidence.Machine, From: last, To: now, Disturbing: true,
				})
			})
		}
		last = now
	}
}

// storyOf is the story of a process, with the times at which it or the machine stood still.
// The caller holds the lock.
func (f *Fleet) storyOf(p *Process) story {
	s := p.story()
	s.stills = slices.Concat(s.stills, f.stalls)
	return s
}
