package judge

import (
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// deadlines judges how long masters acted.
//
//   - I-9: none longer than its lease allows: the sending of the last renewal that was
//     acknowledged, and the TTL less the margin. Who stood still is exempt: the fence
//     is what counts then
func (t *trial) deadlines() {
	if len(t.run.Leases) == 0 {
		return // nobody has measured them
	}
	margin := max(500*time.Millisecond, t.run.TTL/10)
	for i := range t.run.Acts {
		a := &t.run.Acts[i]
		if a.Frozen {
			continue
		}
		sent, renewed := t.lastSent(a)
		switch end := sent + t.run.TTL - margin; {
		case !renewed:
			t.brokenAt("I-9", a.To, "%s acts in term %d without a lease", a.Node, a.Term)
		case a.To > end+t.run.Slack:
			t.brokenAt("I-9", a.To, "%s acts in term %d until %s after its deadline", a.Node, a.Term, a.To-end)
		}
	}
}

// lastSent returns when the last lease was asked for that a node had while it acted.
func (t *trial) lastSent(a *evidence.Act) (sent time.Duration, found bool) {
	for _, l := range t.run.Leases {
		if l.Node == a.Node && l.Sent <= a.To && (!found || l.Sent > sent) {
			sent, found = l.Sent, true
		}
	}
	return sent, found
}

// overlaps judges the spans in which nodes acted as masters, on one clock.
//
//   - I-10: no two overlap, unless one of them stood still
func (t *trial) overlaps() {
	acts := sorted(t.run.Acts, func(a *evidence.Act) time.Duration { return a.From })
	for i := range acts {
		for j := i + 1; j < len(acts) && acts[j].From < acts[i].To; j++ {
			first, second := &acts[i], &acts[j]
			if first.Frozen || second.Frozen {
				continue
			}
			both := min(first.To, second.To) - second.From
			t.verdict.Overlap += both
			t.brokenAt("I-10", second.From, "%s in term %d and %s in term %d act at once for %s", first.Node, first.Term, second.Node, second.Term, both)
		}
	}
}
