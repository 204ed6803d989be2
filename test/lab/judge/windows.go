package judge

import (
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// deadlines judges how long masters acted.
//
//   - I-9: none longer than the lease that won the term allows: from the sending of its
//     last acknowledged renewal, the TTL less the margin. A node that stood still is
//     exempt: the fence protects the data then
func (t *trial) deadlines() {
	if len(t.run.Leases) == 0 {
		return // nobody has measured them
	}
	margin := max(500*time.Millisecond, t.run.TTL/10)
	for i := range t.run.Acts {
		a := &t.run.Acts[i]
		lease, given := t.given[lead{a.Node, a.Term}]
		if a.Frozen || !given { // a node that was given no lease is reported elsewhere
			continue
		}
		sent, renewed := t.lastSent(lease, a.To)
		switch end := sent + t.run.TTL - margin; {
		case !renewed:
			t.brokenAt("I-9", a.To, "%s acts in term %d without a lease", a.Node, a.Term)
		case a.To > end+t.run.Slack:
			t.brokenAt("I-9", a.To, "%s acts in term %d until %s after its deadline", a.Node, a.Term, a.To-end)
		}
	}
}

// lastSent returns when the last grant or renewal of a lease before a time was requested.
func (t *trial) lastSent(lease int64, before time.Duration) (sent time.Duration, found bool) {
	for _, l := range t.run.Leases {
		if l.ID == lease && l.Sent <= before && (!found || l.Sent > sent) {
			sent, found = l.Sent, true
		}
	}
	return sent, found
}

// overlaps judges the spans in which nodes acted as masters, on one clock.
//
//   - I-10: no two overlap, unless one of the nodes stood still, or that of the earlier
//     term had it taken by hand and has not noticed
func (t *trial) overlaps() {
	acts := sorted(t.run.Acts, func(a *evidence.Act) time.Duration { return a.From })
	for i := range acts {
		for j := i + 1; j < len(acts) && acts[j].From < acts[i].To; j++ {
			first, second := &acts[i], &acts[j]
			earlier := first
			if second.Term < first.Term { // it acts again after a pause for a handover
				earlier = second
			}
			if first.Frozen || second.Frozen || t.taken(earlier) {
				continue
			}
			both := min(first.To, second.To) - second.From
			t.verdict.Overlap += both
			t.brokenAt("I-10", second.From, "%s in term %d and %s in term %d act at once for %s", first.Node, first.Term, second.Node, second.Term, both)
		}
	}
}

// taken reports whether a term was taken by hand from a node that acts in it, or that had
// acted before and may not have noticed when it began again.
func (t *trial) taken(a *evidence.Act) bool {
	began := a.From
	for i := range t.run.Acts {
		if b := &t.run.Acts[i]; b.Node == a.Node && b.Term == a.Term {
			began = min(began, b.From)
		}
	}
	return slices.ContainsFunc(t.run.Faults, func(f evidence.Fault) bool {
		return f.Taken && f.Target == a.Node && f.From >= began && f.From <= a.To && a.From <= f.From+t.run.TTL
	})
}
