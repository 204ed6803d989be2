package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// forgery is a history that nobody has lived. It begins as a right one: a leads
// term 3 and has written x, b waits.
type forgery struct {
	history
	revision int64
	created  map[string]int64
}

const (
	recordA = `{"id":"a","state":"MASTER","term":3}`
	recordB = `{"id":"b","state":"MASTER","term":9}`
	termOfA = `{"term":3,"key":"/p/election/1","node":"a"}`
	termOfB = `{"term":9,"key":"/p/election/2","node":"b"}`
)

func forge() *forgery {
	f := &forgery{history: history{root: "/p/"}, created: make(map[string]int64), revision: 1}
	f.put("nodes/a", `{"id":"a","state":"HOT_STANDBY"}`)
	f.put("election/1", "a")
	f.put("term", termOfA)
	f.put("nodes/a", recordA)
	f.put("mementos/entity/x", "memento/1 node=a term=3 op=1\none")
	f.put("nodes/b", `{"id":"b","state":"HOT_STANDBY"}`)
	f.put("election/2", "b")
	return f
}

// put and del add an event at a revision of its own; with has the next one share
// the revision of the last.
func (f *forgery) put(key, value string) { f.add(clientv3.EventTypePut, key, value, 7) }

func (f *forgery) del(key string) { f.add(clientv3.EventTypeDelete, key, "", 0) }

func (f *forgery) with() *forgery { f.revision--; return f }

func (f *forgery) add(kind mvccpb.Event_EventType, key, value string, lease int64) {
	f.revision++
	kv := &mvccpb.KeyValue{Key: []byte(f.root + key), Value: []byte(value), ModRevision: f.revision}
	if strings.HasPrefix(key, "nodes/") || strings.HasPrefix(key, "election/") {
		kv.Lease = lease
	}
	if kind == clientv3.EventTypePut {
		if f.created[key] == 0 {
			f.created[key] = f.revision
		}
		kv.CreateRevision = f.created[key]
	} else {
		delete(f.created, key)
	}
	f.events = append(f.events, (*clientv3.Event)(&mvccpb.Event{Type: kind, Kv: kv}))
}

// fail is the end of a's lease, and succeed what b then does.
func (f *forgery) fail() {
	f.del("nodes/a")
	f.with().del("election/1")
}

func (f *forgery) succeed() {
	f.put("term", termOfB)
	f.put("nodes/b", recordB)
}

// forged is a history that breaks one rule, or none.
type forged struct {
	name   string
	breaks func(f *forgery)
	want   string // in the one fault; empty for a right history
}

// forgedTerms begin terms, rightly and wrongly.
func forgedTerms() []forged {
	return []forged{
		{"a failover", func(f *forgery) {
			f.fail()
			f.succeed()
			f.put("mementos/entity/x", "memento/1 node=b term=9 op=2\ntwo")
			f.del("mementos/entity/x")
		}, ""},
		{"a handover", func(f *forgery) {
			f.put("term", termOfB)
			f.with().del("election/1")
			f.with().put("nodes/a", `{"id":"a","state":"HOT_STANDBY"}`)
			f.put("nodes/b", recordB)
		}, ""},
		{"a term that is not above the last", func(f *forgery) {
			f.fail()
			f.put("term", `{"term":3,"key":"/p/election/2","node":"b"}`)
		}, "term 3 follows 3"},
		{"a term record that is none", func(f *forgery) {
			f.fail()
			f.put("term", `{"term":9,"key":"/p/election/2","node":"b"`)
		}, "term record"},
		{"a term for a key that does not exist", func(f *forgery) {
			f.fail()
			f.put("term", `{"term":9,"key":"/p/election/8","node":"b"}`)
		}, "a key that does not exist"},
		{"a term that begins while the last one's key lives", func(f *forgery) {
			f.put("term", termOfB)
		}, "term 9 begins while the key of term 3 lives"},
	}
}

// forgedRecords break the rules of the nodes' records.
func forgedRecords() []forged {
	return []forged{
		{"a master without a term", func(f *forgery) {
			f.put("nodes/a", `{"id":"a","state":"HOT_STANDBY"}`)
			f.put("nodes/b", recordB)
		}, "b says it is MASTER of term 9"},
		{"a master of another term", func(f *forgery) {
			f.put("nodes/a", `{"id":"a","state":"MASTER","term":2}`)
		}, "a says it is MASTER of term 2"},
		{"a master whose key is gone", func(f *forgery) {
			f.del("election/1")
			f.put("nodes/a", recordA)
		}, "a says it is MASTER of term 3"},
		{"two masters at one revision", func(f *forgery) {
			f.del("election/1") // and a's record stays as it was
			f.succeed()
		}, "[/p/nodes/a /p/nodes/b] all say they are MASTER"},
		{"a record that is none", func(f *forgery) { f.put("nodes/b", "{") }, "record"},
		{"a record without a lease", func(f *forgery) {
			f.add(clientv3.EventTypePut, "nodes/b", `{"id":"b","state":"HOT_STANDBY"}`, 0)
		}, "has no lease"},
	}
}

// forgedWrites break the rules of mementos.
func forgedWrites() []forged {
	return []forged{
		{"a write while nobody leads", func(f *forgery) {
			f.fail()
			f.put("mementos/entity/x", "memento/1 node=a term=3 op=2\ntwo")
		}, "written while nobody held a term"},
		{"a deletion while nobody leads", func(f *forgery) {
			f.fail()
			f.del("mementos/entity/x")
		}, "written while nobody held a term"},
		{"a write under a candidacy that came after the term", func(f *forgery) {
			f.fail()
			f.put("election/1", "a")
			f.put("mementos/entity/x", "memento/1 node=a term=3 op=2\ntwo")
		}, "written while nobody held a term"},
		{"a write of somebody else", func(f *forgery) {
			f.put("mementos/entity/x", "memento/1 node=b term=3 op=2\ntwo")
		}, "written by b in term 3"},
		{"a write of a term that is over", func(f *forgery) {
			f.fail()
			f.succeed()
			f.put("mementos/entity/x", "memento/1 node=b term=3 op=2\ntwo")
		}, "written by b in term 3, holder was b in term 9"},
	}
}

// The judge of all these tests is judged itself: each rule, broken once, is told.
func TestJudge_TellsEachBrokenRule(t *testing.T) {
	for _, c := range slices.Concat(forgedTerms(), forgedRecords(), forgedWrites()) {
		t.Run(c.name, func(t *testing.T) {
			f := forge()
			c.breaks(f)
			faults := f.replay().faults
			if c.want == "" && len(faults) == 0 {
				return
			}
			if len(faults) != 1 || c.want == "" || !strings.Contains(faults[0], c.want) {
				t.Errorf("faults %q, want one with %q", faults, c.want)
			}
		})
	}
}

func TestLedger_TellsWhatIsNotThere(t *testing.T) {
	f := forge()
	at := f.revision + 1
	f.put("mementos/entity/y", "memento/1 node=a term=3 op=2\ntwo")
	found := f.replay()
	for want, l := range map[string]ledger{
		"":                             {acked: []write{{"entity/y", "two", at}}},
		"is not in the store's":        {acked: []write{{"entity/y", "three", at}}},
		fmt.Sprint("revision ", at+1):  {acked: []write{{"entity/y", "two", at + 1}}},
		"of entity/none at revision 5": {acked: []write{{"entity/none", "two", 5}}},
	} {
		faults := l.check(found)
		if want == "" && len(faults) == 0 {
			continue
		}
		if len(faults) != 1 || want == "" || !strings.Contains(faults[0], want) {
			t.Errorf("faults %q, want one with %q", faults, want)
		}
	}
	f.put("mementos/entity/x", "memento/1 node=a term=3 op=3\none")
	again := (&ledger{}).check(f.replay())
	if !slices.ContainsFunc(again, func(s string) bool { return strings.Contains(s, "applied twice") }) {
		t.Errorf("faults %q, want the payload that came back", again)
	}
}
