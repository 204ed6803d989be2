package judge

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// plane is the state under the plane's keys at one revision.
type plane struct {
	root       string
	candidates map[string]candidate // by election key, without the root
	detached   map[string]int64     // keys in the election without a lease: when they were created
	records    map[string]record    // by node
	left       map[string]int64     // the lease of the last record of each node that has none
	term       term
	guard      guard
	mementos   map[string]memento
}

func newPlane(root string) *plane {
	return &plane{
		root: root, candidates: make(map[string]candidate), records: make(map[string]record),
		detached: make(map[string]int64), left: make(map[string]int64), mementos: make(map[string]memento),
	}
}

// candidate is an election key.
type candidate struct {
	node           string
	created, lease int64
}

// candidacy distinguishes a candidate from a later one with the same key.
type candidacy struct {
	key     string
	created int64
}

// record is the part of a node's record that matters here.
type record struct {
	ID    string `json:"id"`
	Mode  string `json:"mode"`
	State string `json:"state"`
	Term  int64  `json:"term"`

	lease int64
	// byHand says that somebody has edited the record or what it rests on: the node is not
	// to blame for it until it publishes it again.
	byHand bool
}

// term is the term record: who was last given the term.
type term struct {
	Number int64  `json:"term"`
	Key    string `json:"key"`
	Node   string `json:"node"`

	candidacy // that won it
}

// guard is the key with which a disabled node has the plane.
type guard struct {
	Node string `json:"node"`

	created, lease int64 // 0 if there is none
}

// memento is one value under mementos/.
type memento struct {
	node, op string
	term     int64
	payload  string
	modified int64
	readable bool // it is a memento and not garbage
}

// readMemento parses a value: a line that says who wrote it, then the payload.
func readMemento(value []byte, modified int64) (memento, error) {
	head, payload, found := strings.Cut(string(value), "\n")
	rest, ours := strings.CutPrefix(head, "memento/1 ")
	m := memento{payload: payload, modified: modified, readable: found && ours}
	if !m.readable {
		return m, fmt.Errorf("%.40q is no memento", value)
	}
	for rest != "" && !strings.HasPrefix(rest, "type=") { // the only one that may contain spaces
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "node":
			m.node = value
		case "op":
			m.op = value
		case "term":
			number, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return m, fmt.Errorf("term of %q: %w", head, err)
			}
			m.term = number
		}
	}
	if m.node == "" || m.term == 0 || m.op == "" {
		return m, fmt.Errorf("%q does not say who wrote it", head)
	}
	return m, nil
}

// holder returns who may write now: the node in the term record, while the election key
// that won the term exists, or the node with the guard.
func (p *plane) holder() (Term, bool) {
	if p.fenced() {
		return Term{Number: p.term.Number, Node: p.term.Node}, true
	}
	return Term{Number: p.guard.created, Node: p.guard.Node}, p.guard.created != 0
}

// held reports whether the candidacy that won the term still exists.
func (p *plane) held() bool {
	c, ok := p.candidates[p.term.key]
	return ok && c.created == p.term.created
}

// fenced reports whether the fence of the last term still holds: the key that won it still
// has its creation revision. If somebody has detached the key from its lease by hand, the
// next term may begin and end this fence; until then, or until the holder has noticed, the
// holder's writes are valid.
func (p *plane) fenced() bool {
	created, detached := p.detached[p.term.key]
	return p.held() || detached && created == p.term.created
}

// apply applies the events of a revision. What cannot be parsed is ignored; it was reported
// before.
func (p *plane) apply(events []evidence.Event) {
	for i := range events {
		ev := &events[i]
		dir, name, _ := strings.Cut(ev.Key, "/")
		switch dir {
		case "election":
			// A key without a lease is nobody's candidacy.
			set(p.candidates, ev.Key, ev.Deleted || ev.Lease == 0, candidate{string(ev.Value), ev.Created, ev.Lease})
			set(p.detached, ev.Key, ev.Deleted || ev.Lease != 0, ev.Created)
		case "nodes":
			set(p.left, name, !ev.Deleted, p.records[name].lease)
			set(p.records, name, ev.Deleted, readRecord(ev))
		case "mementos":
			m, _ := readMemento(ev.Value, ev.Revision)
			set(p.mementos, name, ev.Deleted, m)
		case "term":
			p.term = p.readTerm(ev)
		case "guard":
			p.guard = readGuard(ev)
		}
	}
}

// set updates one key of a map.
func set[V any](all map[string]V, key string, deleted bool, v V) {
	if deleted {
		delete(all, key)
		return
	}
	all[key] = v
}

func readRecord(ev *evidence.Event) record {
	var r record
	if !ev.Deleted && json.Unmarshal(ev.Value, &r) != nil {
		r = record{}
	}
	r.lease = ev.Lease
	return r
}

// readTerm parses a term record and finds the candidacy that won it.
func (p *plane) readTerm(ev *evidence.Event) term {
	var t term
	if ev.Deleted || json.Unmarshal(ev.Value, &t) != nil {
		return term{}
	}
	if key, ours := strings.CutPrefix(t.Key, p.root); ours {
		t.candidacy = candidacy{key, p.candidates[key].created}
	}
	return t
}

func readGuard(ev *evidence.Event) guard {
	var g guard
	if ev.Deleted || json.Unmarshal(ev.Value, &g) != nil {
		return guard{}
	}
	g.created, g.lease = ev.Created, ev.Lease
	return g
}

// byHand applies what somebody did by hand. Nodes are not responsible for records whose
// keys were touched.
func (p *plane) byHand(events []evidence.Event) {
	holder := p.term.Node
	var touched []string
	for i := range events {
		ev := &events[i]
		dir, name, _ := strings.Cut(ev.Key, "/")
		switch dir {
		case "nodes":
			touched = append(touched, name)
		case "election":
			touched = append(touched, p.candidates[ev.Key].node, string(ev.Value))
		case "term":
			touched = append(touched, holder)
		}
	}
	p.apply(events)
	for _, node := range touched {
		if node != "" {
			r := p.records[node]
			r.byHand = true
			p.records[node] = r
		}
	}
}
