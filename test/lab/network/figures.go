package network

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Figures describes, from a run's evidence, the effect of each fault: how long no client
// had a write acknowledged, and how long before its deadline the master stopped whose term
// was taken.
func Figures(run *evidence.Run) (lines []string) {
	for _, f := range run.Faults {
		line := fmt.Sprintf("%s of %s, for %s: %s; no write acknowledged for %s", f.What, f.Target,
			(f.To - f.From).Round(time.Millisecond), f.Detail, silence(run, f).Round(time.Millisecond))
		for _, a := range run.Acts {
			if a.From < f.From && a.To > f.From && a.To < f.To && !a.Frozen {
				line += fmt.Sprintf("; %s stopped %s before its deadline", a.Node, (deadline(run, a) - a.To).Round(time.Millisecond))
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// TooQuiet finds the faults during which no client had a write acknowledged for longer than
// the row allows.
func TooQuiet(run *evidence.Run) (err error) {
	for _, f := range run.Faults {
		for _, r := range Rows() {
			if long := silence(run, f); r.What == f.What && r.Quiet > 0 && long > r.Quiet {
				err = errors.Join(err, fmt.Errorf("row %d, %s: no write acknowledged for %s, at most %s are sane", r.Number, r.What, long, r.Quiet))
			}
		}
	}
	return err
}

// silence is the longest time in a fault without an acknowledged write.
func silence(run *evidence.Run, f evidence.Fault) (longest time.Duration) {
	moments := []time.Duration{f.From, f.To}
	for _, op := range run.Ops {
		if op.Outcome == evidence.OK && op.Read == nil && op.Answered > f.From && op.Answered < f.To {
			moments = append(moments, op.Answered)
		}
	}
	slices.Sort(moments)
	for i := range moments[1:] {
		longest = max(longest, moments[i+1]-moments[i])
	}
	return longest
}

// deadline is until when a master might have acted by its last renewal.
func deadline(run *evidence.Run, a evidence.Act) (last time.Duration) {
	for _, l := range run.Leases {
		if l.Node == a.Node && l.Sent <= a.To {
			last = max(last, l.Sent+run.TTL-margin(run.TTL))
		}
	}
	return last
}
