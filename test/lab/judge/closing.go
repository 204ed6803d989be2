package judge

import (
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// closing judges the end of a run that was healed and brought to rest.
//
//   - I-34: one node leads and says so; every live node has its record and the state
//     that its mode requires; a write sent after all faults was acknowledged; and each
//     node's last copy has everything that was acknowledged
func (t *trial) closing() {
	if len(t.run.Alive) == 0 {
		return
	}
	head := t.run.Head
	if leader := t.now.records[t.now.term.Node]; !t.now.held() || leader.State != "MASTER" || leader.Term != t.now.term.Number {
		t.broken("I-34", head, "nobody leads: the last term is %d of %s, held: %t, its record says %s",
			t.now.term.Number, t.now.term.Node, t.now.held(), leader.State)
	}
	for _, node := range t.run.Alive {
		r := t.now.records[node]
		rest := slices.Contains([]string{"MASTER", "STANDBY", "HOT_STANDBY", "HOT_BACKUP"}, r.State) || r.State == "FAILED" && r.Mode == "disabled"
		if !rest {
			t.broken("I-34", head, "%s lives, and its record says %q in mode %q", node, r.State, r.Mode)
		}
	}
	var healed time.Duration
	for _, f := range t.run.Faults {
		healed = max(healed, f.From, f.To)
	}
	if !slices.ContainsFunc(t.run.Ops, func(op evidence.Op) bool {
		return op.Outcome == evidence.OK && op.Read == nil && op.Sent >= healed
	}) {
		t.brokenAt("I-34", healed, "no write that was sent after all harm was acknowledged")
	}
	t.copiesComplete()
}

// copiesComplete judges the last copy of each live node that still has one. What was not
// acknowledged may have come after the copy was recorded.
func (t *trial) copiesComplete() {
	var written int64 // the last acknowledged revision
	for i := range t.run.Ops {
		if op := &t.run.Ops[i]; op.Outcome == evidence.OK && op.Read == nil {
			written = max(written, op.Revision)
		}
	}
	last := make(map[string]int64)
	for _, c := range sorted(t.run.Copies, func(c *evidence.Copy) time.Duration { return c.At }) {
		last[c.Node] = c.Revision
	}
	for node, revision := range last {
		holds := slices.Contains([]string{"MASTER", "HOT_STANDBY", "HOT_BACKUP"}, t.now.records[node].State)
		if slices.Contains(t.run.Alive, node) && holds && revision < written {
			t.broken("I-34", written, "the copy of %s ends at revision %d", node, revision)
		}
	}
}
