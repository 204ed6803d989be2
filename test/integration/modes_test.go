package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Promise: a hot_backup node opens no campaign and writes no election key, ever,
// until its operator gives it another mode.
func TestHotBackup_AloneWritesNothingButItsRecord(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	c := newCluster(t, ttl)
	backup := c.node("c", "hot_backup")
	backup.await("HOT_BACKUP")
	<-time.After(3 * ttl)
	for _, ev := range c.record().Events {
		if ev.Key != "nodes/c" {
			t.Errorf("revision %d: %s", ev.Revision, ev.Key)
		}
	}
	if code, _, stderr := command(t, "mode", "auto", "--server", backup.url); code != 0 {
		t.Fatalf("mode auto: %d %s", code, stderr)
	}
	backup.await("MASTER")
	if !touched(c.record(), "election/") {
		t.Error("a master without an election key: the check above cannot fail")
	}
}

// Promise: an idle plane writes nothing to etcd. Its leases are renewed, and its
// revision stands still.
func TestIdlePlane_WritesNothing(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	c := newCluster(t, ttl)
	a := c.node("a", "auto")
	a.await("MASTER")
	for id, mode := range map[string]string{"b": "hot_standby", "c": "hot_backup", "d": "standby"} {
		c.node(id, mode).await(strings.ToUpper(mode))
	}
	revision := c.quiet()
	<-time.After(3 * ttl)
	if now := c.revision(); now != revision {
		t.Errorf("revision went from %d to %d", revision, now)
	}
	for id, p := range c.nodes {
		var n struct {
			LeaseRemaining int64 `json:"lease_remaining_ms"`
			Mirror         *struct {
				Staleness int64 `json:"staleness_ms"`
			}
		}
		if err := p.get("/v1/node", &n); err != nil || n.LeaseRemaining <= 0 {
			t.Errorf("%s has %d ms left of its lease, %v", id, n.LeaseRemaining, err)
		}
		if n.Mirror != nil && n.Mirror.Staleness > 5000 {
			t.Errorf("%s has not confirmed its copy for %d ms", id, n.Mirror.Staleness)
		}
	}
	a.mustPut("entity/x", "1")
	if now := c.revision(); now != revision+1 {
		t.Errorf("one put moved the revision from %d to %d", revision, now)
	}
}

func (c *cluster) revision() int64 {
	c.t.Helper()
	resp, err := c.raw.Get(c.t.Context(), "x")
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Header.Revision
}

// quiet waits until the revision has stood still for a second.
func (c *cluster) quiet() int64 {
	c.t.Helper()
	last, since := c.revision(), time.Now()
	eventually(c.t, maxWait, func() error {
		if now := c.revision(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < time.Second {
			return fmt.Errorf("revision %d is too young", last)
		}
		return nil
	})
	return last
}

// Promise: twenty nodes that start at once give one master, and the history shows
// no two terms at a time.
func TestElection_ManyAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	const n = 8 // processes; the count of twenty is tested in one process
	for i := range n {
		c.spawnNode(fmt.Sprintf("n%d", i), "auto")
	}
	for _, p := range c.nodes {
		c.served(p)
	}
	eventually(t, maxWait, func() error {
		masters, standing := 0, 0
		for _, p := range c.nodes {
			if p.is("MASTER") == nil {
				masters++
			}
			if p.is("HOT_STANDBY") == nil {
				standing++
			}
		}
		if masters != 1 || standing != n-1 {
			return fmt.Errorf("%d masters, %d hot standbys", masters, standing)
		}
		return nil
	})
	if found := c.judge(); len(found.Terms) != 1 {
		t.Errorf("terms %+v, want one", found.Terms)
	}
}

// Promise: garbage that somebody puts into a memento's key stops nothing else. It
// is quarantined, and repaired by a write.
func TestQuarantine_GarbageInAMementoKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	b.await("HOT_STANDBY")
	a.mustPut("entity/good", "1")
	a.mustPut("entity/bad", "1")
	root := "/coordinator/p/mementos/"
	for key, value := range map[string]string{
		"entity/bad": "garbage", "entity/empty": "", "entity/with/slash": "x", "UPPER/x": "x", "entity/..": "x",
	} {
		if _, err := c.raw.Put(t.Context(), root+key, value); err != nil {
			t.Fatal(err)
		}
	}
	check := func(p *process) error {
		if err := p.reads("entity/good", "1"); err != nil {
			return err
		}
		got, err := call(t.Context(), http.MethodGet, p.url+"/v1/mementos/entity/bad", nil, nil)
		if err != nil || got.status != http.StatusUnprocessableEntity {
			return fmt.Errorf("GET of garbage through %s: %+v %w", p.name, got, err)
		}
		var n struct{ Quarantined int }
		if err := p.get("/v1/node", &n); err != nil || n.Quarantined != 5 {
			return fmt.Errorf("%s counts %d in quarantine, %w", p.name, n.Quarantined, err)
		}
		return nil
	}
	for _, p := range []*process{a, b} {
		eventually(t, maxWait, func() error { return check(p) })
	}
	a.kill()
	b.await("MASTER") // content never stands in the way of a promotion
	if err := check(b); err != nil {
		t.Error(err)
	}
	b.mustPut("entity/bad", "2")
	if err := b.reads("entity/bad", "2"); err != nil {
		t.Error(err)
	}
	resp, err := c.raw.Get(t.Context(), root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(resp.Kvs) != 6 {
		t.Errorf("%d keys, want nothing deleted; %v", len(resp.Kvs), err)
	}
}
