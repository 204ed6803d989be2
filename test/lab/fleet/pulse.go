package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// A laboratory on a machine that is shared has to know when the machine itself stood
// still: then every process did, and none is to blame for what it did not do meanwhile.

const (
	// beat is how often the pulse is felt.
	beat = 20 * time.Millisecond
	// stalled is how long the pulse must be missed to count.
	stalled = 400 * time.Millisecond
)

// feelPulse notes when this machine stands still, until ctx ends.
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

// storyOf is what a process said, with the times at which it stood still by itself or
// with the machine. The caller holds the lock.
func (f *Fleet) storyOf(p *Process) story {
	s := p.story()
	s.stills = slices.Concat(s.stills, f.stalls)
	return s
}
