package judge

import (
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// assumptions judges the evidence itself. A run that fails here proves nothing, whatever
// else is found.
func (t *trial) assumptions() {
	t.historyWhole()
	t.clientsSequential()
	t.payloadsUnique()
	if margin := max(500*time.Millisecond, t.run.TTL/10); t.run.Slack >= margin {
		t.broken(Invalid, 0, "a slack of %s is no less than the margin of a deadline, %s", t.run.Slack, margin)
	}
	acknowledged := 0
	for i := range t.run.Ops {
		op := &t.run.Ops[i]
		if op.Outcome == evidence.OK && op.Read == nil {
			acknowledged++
		}
		t.known(op)
	}
	if acknowledged < t.run.Enough {
		t.broken(Invalid, 0, "%d writes were acknowledged, the run shows something from %d on", acknowledged, t.run.Enough)
	}
	for _, a := range t.run.Acts {
		if a.To < a.From {
			t.brokenAt(Invalid, a.From, "%s ends to act in term %d before it begins", a.Node, a.Term)
		}
	}
	for _, c := range t.run.Copies {
		if c.Revision > t.run.Head {
			t.broken(Invalid, c.Revision, "a copy of %s is newer than the history, which ends at revision %d", c.Node, t.run.Head)
		}
	}
}

// known judges whether an operation can be judged.
func (t *trial) known(op *evidence.Op) {
	switch {
	case op.Outcome != evidence.OK && op.Outcome != evidence.Refused && op.Outcome != evidence.Unknown:
		t.brokenAt(Invalid, op.Sent, "outcome %q of an operation by %s", op.Outcome, op.Client)
	case (op.Read == nil) == (len(op.Changes) == 0):
		t.brokenAt(Invalid, op.Sent, "an operation by %s neither reads nor changes, or does both", op.Client)
	case op.Outcome == evidence.OK && (op.Revision <= 0 || op.Revision > t.run.Head):
		t.broken(Invalid, op.Revision, "an operation by %s was answered with a revision outside of the history, which ends at %d", op.Client, t.run.Head)
	}
}

// historyWhole checks that the store was empty at the start and that no event is missing:
// each key begins with its creation, and its versions are consecutive.
func (t *trial) historyWhole() {
	type key struct{ created, version int64 }
	stand := make(map[string]key)
	var last int64
	for i := range t.run.Events {
		ev := &t.run.Events[i]
		before, there := stand[ev.Key]
		next := key{ev.Created, ev.Version}
		switch {
		case ev.Revision < last || ev.Revision > t.run.Head:
			t.broken(Invalid, ev.Revision, "an event after revision %d of a history that ends at %d", last, t.run.Head)
		case ev.Deleted && !there,
			!ev.Deleted && there && next != key{before.created, before.version + 1},
			!ev.Deleted && !there && next != key{ev.Revision, 1}:
			t.broken(Invalid, ev.Revision, "the history of %s has a gap", ev.Key)
		}
		last = ev.Revision
		set(stand, ev.Key, ev.Deleted, next)
	}
}

// clientsSequential checks that each client has one operation at a time.
func (t *trial) clientsSequential() {
	free := make(map[string]time.Duration) // the earliest time of each client's next operation
	for _, op := range sorted(t.run.Ops, func(op *evidence.Op) time.Duration { return op.Sent }) {
		if op.Sent < free[op.Client] {
			t.brokenAt(Invalid, op.Sent, "%s asks before it is answered", op.Client)
		}
		free[op.Client] = op.Sent
		if op.Outcome != evidence.Unknown {
			free[op.Client] = op.Answered
		}
		if op.Outcome != evidence.Unknown && op.Answered < op.Sent {
			t.brokenAt(Invalid, op.Sent, "%s is answered before it asks", op.Client)
		}
	}
}

// payloadsUnique checks that each payload identifies the operation that wrote it.
func (t *trial) payloadsUnique() {
	seen := make(map[string]bool)
	for i := range t.run.Ops {
		for _, c := range t.run.Ops[i].Changes {
			if !c.Delete && seen[c.Payload] {
				t.brokenAt(Invalid, t.run.Ops[i].Sent, "payload %.40q of %s is not unique", c.Payload, c.Name)
			}
			seen[c.Payload] = seen[c.Payload] || !c.Delete
		}
	}
}
