package etcdstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: planes whose names begin alike never meet.
func TestStore_PlanesWithLikeNamesNeverMeet(t *testing.T) {
	l := newLab(t)
	terms := make(map[string]driver.Term)
	for _, plane := range []string{"p", "pp", "p.p", "p-p"} {
		cfg := l.config()
		cfg.Plane = plane
		l.stores[plane] = l.open(cfg)
		m, err := l.stores[plane].Join(l.ctx(), recordOf("a"))
		l.must(err)
		terms[plane] = l.elect(m)
		_, err = l.commit(terms[plane], "op", 0, put("entity/x", plane))
		l.must(err)
	}
	l.must(l.stores["p"].Pause(l.ctx(), driver.Pause{By: "a"}))
	for plane := range terms {
		if p, err := l.stores[plane].Plane(l.ctx()); err != nil || (p.Pause != nil) != (plane == "p") {
			t.Errorf("plane %s sees pause %+v, %v", plane, p.Pause, err)
		}
	}
	cfg := l.config()
	cfg.Plane = "p.q"
	l.stores["p.q"] = l.open(cfg)
	if _, _, err := l.stores["p.q"].JoinExclusive(l.ctx(), recordOf("x"), ""); err != nil {
		t.Errorf("joining exclusively beside other planes: %v", err)
	}
	for plane := range terms {
		found := 0
		_, err := l.stores[plane].Load(l.ctx(), func(p driver.Page) error {
			found += len(p.Changes)
			for _, c := range p.Changes {
				if string(c.Memento.Payload) != plane {
					t.Errorf("plane %s sees the memento of %s", plane, c.Memento.Payload)
				}
			}
			return nil
		})
		p, planeErr := l.stores[plane].Plane(l.ctx())
		if err = errors.Join(err, planeErr); err != nil || found != 1 || len(p.Members) != 1 {
			t.Errorf("plane %s sees %d mementos, members %v, %v", plane, found, p.Members, err)
		}
	}
}

func TestOpen_RefusesWhatCannotWork(t *testing.T) {
	cases := map[string]func(*etcdstore.Config){
		"no endpoints":                    func(c *etcdstore.Config) { c.Endpoints = nil },
		"a prefix without a slash":        func(c *etcdstore.Config) { c.Prefix = "x" },
		"a prefix that ends with a slash": func(c *etcdstore.Config) { c.Prefix = "/x/" },
		"a prefix with an empty part":     func(c *etcdstore.Config) { c.Prefix = "/x//y" },
		"an empty prefix":                 func(c *etcdstore.Config) { c.Prefix = "" },
		"a plane in capitals":             func(c *etcdstore.Config) { c.Plane = "P" },
		"a plane with a slash":            func(c *etcdstore.Config) { c.Plane = "a/b" },
		"a TTL that is too short":         func(c *etcdstore.Config) { c.TTL = time.Second },
		"a TTL that is not whole seconds": func(c *etcdstore.Config) { c.TTL = 2500 * time.Millisecond },
	}
	l := newLab(t)
	for name, change := range cases {
		cfg := l.config()
		change(&cfg)
		s, err := etcdstore.Open(l.ctx(), cfg)
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = s.Close()
		}
		if errors.Is(err, rebind.ErrUnavailable) {
			t.Errorf("%s: taken for a store that is away", name)
		}
	}
}

func TestOpen_SaysWhatDoesNotAnswer(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.Endpoints = []string{"127.0.0.1:1"}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := etcdstore.Open(ctx, cfg)
	if !errors.Is(err, rebind.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("open = %v, want one that names the endpoint", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestAnnounce_PrunesTheHistory(t *testing.T) {
	l := newLab(t)
	for i := range 204 {
		_, err := l.raw.Put(l.ctx(), l.key(fmt.Sprintf("history/%020d", i+1)), fmt.Sprintf(`{"term":%d,"node":"a"}`, i+1))
		l.must(err)
	}
	term := l.elect(l.join("a"))
	l.must(term.Announce(l.ctx(), recordOf("a"), driver.HistoryEntry{Term: term.Number(), Node: "a"}))
	entries, err := l.node("a").History(l.ctx())
	if err != nil || len(entries) != 200 || entries[0].Term != term.Number() || entries[199].Term != 6 {
		t.Errorf("%d entries, from %d to %d, %v, want the last 200", len(entries), entries[0].Term, entries[len(entries)-1].Term, err)
	}
	resp := l.get(l.key("history/"), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if resp.Count != 200 {
		t.Errorf("%d keys in the history", resp.Count)
	}
}

// Promise: a request too large for etcd is refused whole before it is sent.
func TestCommit_TooLargeIsRefusedWhole(t *testing.T) {
	l := newLab(t)
	term := l.elect(l.join("a"))
	big := string(make([]byte, 800<<10))
	_, err := l.commit(term, "op", 0, put("entity/x", big), put("entity/y", big))
	if !errors.Is(err, driver.ErrTooLarge) || !strings.Contains(err.Error(), "1572864") {
		t.Errorf("commit = %v, want ErrTooLarge with the limit", err)
	}
	if l.payload("entity/x") != "" {
		t.Error("a part of it is stored")
	}
	if _, err := l.commit(term, "op2", 0, put("entity/x", string(make([]byte, driver.MaxPayload)))); err != nil {
		t.Errorf("the largest payload allowed is refused: %v", err)
	}
	ops := make([]rebind.Op, driver.MaxOps)
	for i := range ops {
		ops[i] = put(rebind.Name(fmt.Sprintf("entity/%0200d", i)), string(make([]byte, 10<<10)))
	}
	if _, err := l.commit(term, "op3", 0, ops...); err != nil {
		t.Errorf("a delta of %d operations: %v", len(ops), err)
	}
}

// Promise: what somebody else put where the plane's own keys are stops nobody.
func TestStore_GarbageInThePlanesOwnKeys(t *testing.T) {
	l := newLab(t)
	for _, key := range []string{"nodes/z", "history/zzz", "handover"} {
		_, err := l.raw.Put(l.ctx(), l.key(key), "garbage")
		l.must(err)
	}
	m := l.join("a")
	l.elect(m)
	p, err := l.node("a").Plane(l.ctx())
	if err != nil || len(p.Members) != 1 || p.Holder.Node != "a" {
		t.Errorf("plane = %+v, %v", p, err)
	}
	if _, err := l.node("a").History(l.ctx()); err != nil {
		t.Errorf("history: %v", err)
	}
}

// A record without a mode or a state is no node's: it could not be written again when
// its node vanishes.
func TestStore_RecordsThatLackWhatEachHas(t *testing.T) {
	l := newLab(t)
	whole, err := json.Marshal(leftOfOld("y", driver.DepartureLost))
	l.must(err)
	lease, err := l.raw.Grant(l.ctx(), 60)
	l.must(err)
	for key, value := range map[string]string{
		"nodes/v": `{"id":"v"}`,
		"nodes/w": `{"id":"w","mode":"auto"}`,
		"left/x":  `{"id":"x","mode":"auto","state":"TERMINATED"}`,
		"left/z":  string(whole), // of another
		"left/y":  string(whole),
	} {
		_, err := l.raw.Put(l.ctx(), l.key(key), value, clientv3.WithLease(lease.ID))
		l.must(err)
	}
	p, err := l.node("a").Plane(l.ctx())
	if err != nil || len(p.Members) != 0 || len(p.Departed) != 1 || p.Departed[0].ID != "y" {
		t.Errorf("members %+v, left %+v, %v, want y among those who left and nobody else", p.Members, p.Departed, err)
	}
}

// Promise: what somebody put in the place of a node's record is nobody's: the node
// puts its record back, on its lease, and another process of that id can join.
func TestPublish_TakesTheRecordBack(t *testing.T) {
	l := newLab(t)
	m := l.join("a")
	l.join("b")
	key, lease := l.key("nodes/a"), l.leaseOf("a")
	for name, put := range map[string]func() error{
		"garbage":   func() error { _, err := l.raw.Put(l.ctx(), key, "garbage"); return err },
		"off lease": func() error { _, err := l.raw.Put(l.ctx(), key, string(l.get(key).Kvs[0].Value)); return err },
		"another's": func() error { _, err := l.raw.Put(l.ctx(), key, `{"id":"b"}`, clientv3.WithLease(lease)); return err },
		"not there": func() error { _, err := l.raw.Delete(l.ctx(), key); return err },
		"a number":  func() error { _, err := l.raw.Put(l.ctx(), key, "7", clientv3.WithLease(lease)); return err },
		"half a JSON": func() error {
			_, err := l.raw.Put(l.ctx(), key, `{"id":"a","started":1}`, clientv3.WithLease(lease))
			return err
		},
	} {
		l.must(put())
		if p, err := l.node("b").Plane(l.ctx()); err != nil || len(p.Members) != 1 || p.Members[0].ID != "b" {
			t.Errorf("%s: members %+v, %v, want b alone", name, p.Members, err)
		}
		if err := m.Publish(l.ctx(), recordOf("a")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now := l.leaseOf("a"); now != lease {
			t.Errorf("%s: record is on lease %x, was on %x", name, now, lease)
		}
		if p, err := l.node("b").Plane(l.ctx()); err != nil || len(p.Members) != 2 {
			t.Errorf("%s: members %+v, %v, want both", name, p.Members, err)
		}
	}
	_, err := l.raw.Put(l.ctx(), l.key("nodes/c"), "garbage")
	l.must(err)
	l.join("c")
}
