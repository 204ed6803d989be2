package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// history is everything that ever happened under a plane's keys, as the store
// tells it. It is read and judged with nothing of the product's but the
// documented formats.
type history struct {
	root   string
	events []*clientv3.Event
}

// record reads the plane's history from revision 1.
func (c *cluster) record() *history {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	now, err := c.raw.Get(ctx, "x")
	if err != nil {
		c.t.Fatal(err)
	}
	h := &history{root: "/coordinator/" + c.plane + "/"}
	if now.Header.Revision == 1 {
		return h
	}
	watch := c.raw.Watch(clientv3.WithRequireLeader(ctx), "/", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV())
	for {
		select {
		case resp := <-watch:
			if err := resp.Err(); err != nil {
				c.t.Fatalf("read history: %v", err)
			}
			for _, ev := range resp.Events {
				if strings.HasPrefix(string(ev.Kv.Key), h.root) {
					h.events = append(h.events, ev)
				}
			}
			// The header can be ahead of what a watch that is catching up was sent.
			if n := len(resp.Events); n > 0 && resp.Events[n-1].Kv.ModRevision >= now.Header.Revision {
				return h
			}
		case <-ctx.Done():
			c.t.Fatal("history does not come to its end")
		}
	}
}

// holder is the one who may write, as the replay has it.
type holder struct {
	Term int64  `json:"term"`
	Key  string `json:"key"`
	Node string `json:"node"`
}

// nodeRecord is a sync record, as far as the judge cares.
type nodeRecord struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Term  int64  `json:"term"`
	Mode  string `json:"mode"`
}

// replay walks through a history, revision by revision.
type replay struct {
	root   string
	faults []string
	alive  map[string]int64  // election keys and when they were made
	states map[string]string // what the live records say, by key
	now    holder
	begun  int64 // revision of the term record
	terms  []holder
	puts   map[string]map[int64]string // payloads by memento and revision
	latest map[string]string
}

// judge replays the history and fails the test for each rule that was broken.
func (h *history) judge(t *testing.T) *replay {
	t.Helper()
	r := h.replay()
	for _, fault := range r.faults {
		t.Error(fault)
	}
	return r
}

// replay checks what must hold at every revision, and returns what was found:
// terms rise; a term begins only when the key of the one before is gone, and for
// a key that is there; whoever publishes MASTER holds the term it names, and no
// two live records say MASTER; every write of a memento was made by the holder at
// the revision before it.
func (h *history) replay() *replay {
	r := &replay{
		root: h.root, alive: make(map[string]int64), states: make(map[string]string),
		puts: make(map[string]map[int64]string), latest: make(map[string]string),
	}
	for i := 0; i < len(h.events); {
		rev := h.events[i].Kv.ModRevision
		end := i
		for end < len(h.events) && h.events[end].Kv.ModRevision == rev {
			end++
		}
		// Judge by what held before this revision, then apply it.
		for _, ev := range h.events[i:end] {
			r.check(ev)
		}
		before, held := r.now, r.held()
		for _, ev := range h.events[i:end] {
			r.apply(ev)
		}
		if _, still := r.alive[before.Key]; still && held && r.now != before {
			r.fault(rev, "term %d begins while the key of term %d lives", r.now.Term, before.Term)
		}
		r.countMasters(rev)
		i = end
	}
	return r
}

// fault notes a broken rule.
func (r *replay) fault(revision int64, format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf("revision %d: ", revision)+fmt.Sprintf(format, args...))
}

// countMasters checks that at most one live record says MASTER.
func (r *replay) countMasters(revision int64) {
	var masters []string
	for key, state := range r.states {
		if state == "MASTER" {
			masters = append(masters, key)
		}
	}
	if len(masters) > 1 {
		slices.Sort(masters)
		r.fault(revision, "%v all say they are MASTER", masters)
	}
}

// held reports whether the holder's key lives.
func (r *replay) held() bool {
	made, ok := r.alive[r.now.Key]
	return ok && made <= r.begun
}

func (r *replay) check(ev *clientv3.Event) {
	key, rest := string(ev.Kv.Key), strings.TrimPrefix(string(ev.Kv.Key), r.root)
	rev := ev.Kv.ModRevision
	switch {
	case rest == "term" && ev.Type == clientv3.EventTypePut:
		var next holder
		if err := json.Unmarshal(ev.Kv.Value, &next); err != nil {
			r.fault(rev, "term record %q: %v", ev.Kv.Value, err)
			return
		}
		if next.Term <= r.now.Term {
			r.fault(rev, "term %d follows %d", next.Term, r.now.Term)
		}
		if _, ok := r.alive[next.Key]; !ok {
			r.fault(rev, "term %d is given to a key that does not exist", next.Term)
		}
	case strings.HasPrefix(rest, "mementos/"):
		r.checkWrite(ev)
	case strings.HasPrefix(rest, "nodes/") && ev.Type == clientv3.EventTypePut:
		var n nodeRecord
		if err := json.Unmarshal(ev.Kv.Value, &n); err != nil {
			r.fault(rev, "record %q: %v", ev.Kv.Value, err)
		}
		if ev.Kv.Lease == 0 {
			r.fault(rev, "record %s has no lease", key)
		}
		if n.State == "MASTER" && (n.Term != r.now.Term || n.ID != r.now.Node || !r.held()) {
			r.fault(rev, "%s says it is MASTER of term %d, holder is %+v, held %t", n.ID, n.Term, r.now, r.held())
		}
	}
}

func (r *replay) checkWrite(ev *clientv3.Event) {
	rev := ev.Kv.ModRevision
	if !r.held() {
		r.fault(rev, "%s written while nobody held a term", ev.Kv.Key)
	}
	if ev.Type == clientv3.EventTypeDelete {
		return
	}
	fields := header(ev.Kv.Value)
	if fields["node"] != r.now.Node || fields["term"] != strconv.FormatInt(r.now.Term, 10) {
		r.fault(rev, "%s written by %s in term %s, holder was %s in term %d",
			ev.Kv.Key, fields["node"], fields["term"], r.now.Node, r.now.Term)
	}
}

// header reads the first line of a memento's value.
func header(value []byte) map[string]string {
	line, _, _ := strings.Cut(string(value), "\n")
	fields := make(map[string]string)
	for _, field := range strings.Fields(line)[1:] {
		k, v, _ := strings.Cut(field, "=")
		fields[k] = v
	}
	return fields
}

func (r *replay) apply(ev *clientv3.Event) {
	key, rest := string(ev.Kv.Key), strings.TrimPrefix(string(ev.Kv.Key), r.root)
	deleted := ev.Type == clientv3.EventTypeDelete
	switch {
	case strings.HasPrefix(rest, "election/") && deleted:
		delete(r.alive, key)
	case strings.HasPrefix(rest, "election/"):
		r.alive[key] = ev.Kv.CreateRevision
	case rest == "term" && !deleted:
		_ = json.Unmarshal(ev.Kv.Value, &r.now) // check has complained already
		r.begun = ev.Kv.ModRevision
		r.terms = append(r.terms, r.now)
	case strings.HasPrefix(rest, "nodes/") && deleted:
		delete(r.states, key)
	case strings.HasPrefix(rest, "nodes/"):
		var n nodeRecord
		_ = json.Unmarshal(ev.Kv.Value, &n)
		r.states[key] = n.State
	case strings.HasPrefix(rest, "mementos/") && deleted:
		delete(r.latest, strings.TrimPrefix(rest, "mementos/"))
	case strings.HasPrefix(rest, "mementos/"):
		name := strings.TrimPrefix(rest, "mementos/")
		_, payload, _ := strings.Cut(string(ev.Kv.Value), "\n")
		if r.puts[name] == nil {
			r.puts[name] = make(map[int64]string)
		}
		r.puts[name][ev.Kv.ModRevision] = payload
		r.latest[name] = payload
	}
}

// ledger is what writers were told.
type ledger struct {
	acked   []write
	unknown int
	refused int
}

// write is one acknowledged write. No two have the same payload.
type write struct {
	name, payload string
	revision      int64
}

// holds checks the ledger against the history and fails the test for each fault.
func (l *ledger) holds(t *testing.T, r *replay) {
	t.Helper()
	for i, fault := range l.check(r) {
		if i == 10 {
			t.Fatal("and so on")
		}
		t.Error(fault)
	}
}

// check tells which acknowledged writes the store does not have at the revision
// that was told, and what it has twice.
func (l *ledger) check(r *replay) []string {
	var faults []string
	for _, w := range l.acked {
		if r.puts[w.name][w.revision] != w.payload {
			faults = append(faults, fmt.Sprintf("acknowledged write of %s at revision %d is not in the store's history", w.name, w.revision))
		}
	}
	seen := make(map[string]int64)
	for name, byRevision := range r.puts {
		for rev, payload := range byRevision {
			if first, twice := seen[payload]; twice {
				faults = append(faults, fmt.Sprintf("%q of %s stands at revisions %d and %d: applied twice, or brought back", payload, name, first, rev))
			}
			seen[payload] = rev
		}
	}
	return faults
}
