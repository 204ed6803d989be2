package judge

import (
	"encoding/json"
	"slices"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// termBegins judges the beginning of a term by the state before it.
//
//   - I-2: a term is given to a live candidate that has not led before, when the term
//     before is over or is ended by the same transaction
//   - I-3: its number is higher than all before, and not less than the candidate's
//     revision
func (t *trial) termBegins(events []evidence.Event) {
	var ended []string // election keys deleted at this revision
	var record *evidence.Event
	for i := range events {
		switch ev := &events[i]; {
		case ev.Key == "term" && !ev.Deleted:
			record = ev
		case ev.Key == "term":
			t.broken("I-3", ev.Revision, "the term record is deleted")
		case ev.Deleted:
			ended = append(ended, ev.Key)
		}
	}
	if record == nil {
		return
	}
	at := record.Revision
	next := t.now.readTerm(record)
	if next.Number == 0 {
		t.broken("I-3", at, "term record %.40q is none: %v", record.Value, json.Unmarshal(record.Value, new(term)))
		return
	}
	if next.Number <= t.highest {
		t.broken("I-3", at, "term %d follows %d", next.Number, t.highest)
	}
	switch winner, lives := t.now.candidates[next.key]; {
	case !lives || slices.Contains(ended, next.key):
		t.broken("I-2", at, "term %d is given to %q, which is no candidate", next.Number, next.Key)
	case winner.node != next.Node:
		t.broken("I-2", at, "term %d is given to %s, the candidate is %s", next.Number, next.Node, winner.node)
	case t.led[next.candidacy]:
		t.broken("I-2", at, "term %d is given to %s, which has led before", next.Number, next.Key)
	case next.Number > t.highest && next.Number < winner.created:
		t.broken("I-3", at, "term %d is less than the revision %d of its candidate", next.Number, winner.created)
	}
	if t.now.held() && !slices.Contains(ended, t.now.term.key) {
		t.broken("I-2", at, "term %d begins while term %d of %s lasts", next.Number, t.now.term.Number, t.now.term.Node)
	}
	t.led[next.candidacy] = true
	t.highest = max(t.highest, next.Number)
	t.given[lead{next.Node, next.Number}] = t.now.candidates[next.key].lease
	t.verdict.Terms = append(t.verdict.Terms, Term{next.Number, next.Node, at})
}

// lead is one leadership: of a term, or of the guard that a disabled node has created.
type lead struct {
	node string
	term int64
}

// moves judges what nodes said about themselves, and did, by the store's history.
//
//   - I-2: a node that says MASTER, or acts, has been given that term
//   - I-5: and is allowed to lead
func (t *trial) moves() {
	for _, m := range t.run.Moves {
		l := lead{m.Node, m.Term}
		_, given := t.given[l]
		switch {
		case m.To != "MASTER":
		case !given:
			t.brokenAt("I-2", m.At, "%s says it is MASTER of term %d, which it was not given", m.Node, m.Term)
		case !promotable(m.Mode) && !t.exclusive[l]:
			t.brokenAt("I-5", m.At, "%s says it is MASTER of term %d in mode %s", m.Node, m.Term, m.Mode)
		}
	}
	for _, a := range t.run.Acts {
		if _, given := t.given[lead{a.Node, a.Term}]; !given {
			t.brokenAt("I-2", a.From, "%s acts in term %d, which it was not given", a.Node, a.Term)
		}
	}
}
