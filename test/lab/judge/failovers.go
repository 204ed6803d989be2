package judge

import (
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// failovers judges the changes of master by the faults. Each change is attributed to the
// last fault before it that can end a term.
//
//   - I-28: there is a master again as soon as was promised for one of the faults since
//     the last change
//   - I-33: there are no more changes than faults that can end a term
func (t *trial) failovers() {
	for _, f := range t.run.Faults {
		t.verdict.Faults[f.What]++
	}
	if len(t.run.Faults)+len(t.run.Moves) == 0 {
		return // the faults were not recorded
	}
	faults := t.disturbing()
	if changes := len(t.verdict.Terms) - 1; changes > len(faults) {
		t.broken("I-33", 0, "%d changes of master, %d faults that can end a term", changes, len(faults))
		return
	}
	begun, counted := 0, 0 // faults that had begun, and how many of those before the last change
	for n, m := range t.masters() {
		for begun < len(faults) && faults[begun].From <= m.At {
			begun++
		}
		switch since := faults[counted:begun]; {
		case n == 0:
		case n > begun:
			t.brokenAt("I-33", m.At, "%s is MASTER of term %d, the change number %d after %d faults that can end a term", m.Node, m.Term, n, begun)
		case len(since) > 0:
			t.failedOver(m, since)
		}
		counted = begun
	}
}

// disturbing returns the faults that can end a term, in order. A fault that recurs is
// listed again for each term that its target got while it lasted, or while a lease whose
// renewal it had prevented could still be lapsing.
func (t *trial) disturbing() (all []evidence.Fault) {
	masters := t.masters()
	for _, f := range t.run.Faults {
		if f.Disturbing {
			all = append(all, f)
		}
		for _, m := range masters {
			if f.Recurring && m.Node == f.Target && f.From < m.At && m.At <= f.To+t.run.TTL {
				again := f
				again.From = m.At + 1 // it explains no earlier change
				all = append(all, again)
			}
		}
	}
	return sorted(all, func(f *evidence.Fault) time.Duration { return f.From })
}

// masters returns the moves to MASTER in order, each term once.
func (t *trial) masters() []evidence.Move {
	seen := make(map[int64]bool)
	return slices.DeleteFunc(sorted(t.run.Moves, func(m *evidence.Move) time.Duration { return m.At }), func(m evidence.Move) bool {
		again := seen[m.Term]
		seen[m.Term] = seen[m.Term] || m.To == "MASTER"
		return m.To != "MASTER" || again
	})
}

// failedOver judges one change of master that followed these faults.
func (t *trial) failedOver(m evidence.Move, faults []evidence.Fault) {
	last := faults[len(faults)-1]
	t.verdict.Failovers = append(t.verdict.Failovers, Failover{Fault: last.What, Took: m.At - last.From})
	var promised time.Duration
	for _, f := range faults {
		if f.Limit == 0 {
			return
		}
		promised = max(promised, f.From+f.Limit)
	}
	if m.At > promised+t.run.Slack {
		t.brokenAt("I-28", m.At, "%s leads %s after %s of %s, which is %s too late", m.Node, m.At-last.From, last.What, last.Target, m.At-promised)
	}
}
