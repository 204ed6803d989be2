package judge

import (
	"encoding/json"
	"strings"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// oneWriter judges what only the holder may write: mementos, history and handover.
//
//   - I-1: the writer at R was the holder at R-1
//   - I-4: no write of a deposed master is accepted
func (t *trial) oneWriter(events []evidence.Event) {
	for i := range events {
		ev := &events[i]
		dir, name, _ := strings.Cut(ev.Key, "/")
		switch {
		case dir == "mementos":
			t.mementoWritten(name, ev)
		case (dir == "history" || dir == "handover") && !ev.Deleted:
			t.termWritten(dir, ev)
		}
	}
}

// mementoWritten judges one write of a memento. A deletion does not say whose it is.
func (t *trial) mementoWritten(name string, ev *evidence.Event) {
	holder, held := t.now.holder()
	if ev.Deleted {
		if !held {
			t.broken("I-1", ev.Revision, "%s is deleted while nobody holds a term", name)
		}
		return
	}
	t.verdict.Written[name]++
	m, err := readMemento(ev.Value, ev.Revision)
	switch {
	case err != nil:
		t.broken("I-1", ev.Revision, "%s: %v", name, err)
	case m.term < t.highest:
		t.broken("I-4", ev.Revision, "%s is written by %s in term %d, which term %d has ended", name, m.node, m.term, t.highest)
	case !held:
		t.broken("I-1", ev.Revision, "%s is written by %s while nobody holds a term", name, m.node)
	case m.node != holder.Node || m.term != holder.Number:
		t.broken("I-1", ev.Revision, "%s is written by %s in term %d, holder is %s in term %d", name, m.node, m.term, holder.Node, holder.Number)
	}
}

// termWritten judges what a master writes about its term.
func (t *trial) termWritten(what string, ev *evidence.Event) {
	var said struct{ Node, From string }
	if err := json.Unmarshal(ev.Value, &said); err != nil {
		t.broken("I-1", ev.Revision, "%s %.40q: %v", what, ev.Value, err)
		return
	}
	writer := said.Node
	if what == "handover" {
		writer = said.From
	}
	if !t.now.fenced() || writer != t.now.term.Node {
		t.broken("I-1", ev.Revision, "%s is written by %s, the term is %s's, held: %t", ev.Key, writer, t.now.term.Node, t.now.fenced())
	}
}

// oneHolder checks that a disabled node has the plane to itself.
//
//   - I-1: while there is a guard there is no record, no candidate and no held term
func (t *trial) oneHolder(revision int64) {
	g := t.now.guard
	if g.created == 0 {
		return
	}
	if g.created == revision {
		l := lead{g.Node, g.created}
		t.given[l], t.exclusive[l] = g.lease, true
	}
	if len(t.now.candidates) > 0 || len(t.now.records) > 0 {
		t.broken("I-1", revision, "disabled node %s has the plane, and so have others: %d records, %d candidates",
			g.Node, len(t.now.records), len(t.now.candidates))
	}
}
