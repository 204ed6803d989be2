package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// milestone is a revision that a first start makes: the keys it writes there, and
// what tells it from the others that write the same.
type milestone struct {
	name  string
	keys  string
	value string // that one of them holds
}

// firstStart is what the first node of a plane comes past, in order. Its record is
// published once more with the plane's id, before or after it announces itself.
var firstStart = []milestone{
	{"nothing", "[]", ""},
	{"joined", "[nodes/a]", "INITIALIZING"},
	{"settled", "[nodes/a]", "HOT_STANDBY"},
	{"in the election", "[election/]", ""},
	{"elected", "[meta term]", ""},
	{"announced", "[history/ nodes/a]", "MASTER"},
}

// Promise: a node killed at any point of its first start leaves a plane in which
// any node can start: another one when the lease has lapsed, and the same one
// from its own data directory at once.
func TestFirstStart_KilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	for i, at := range firstStart {
		for _, next := range []string{"b", "a"} {
			t.Run(at.name+", then "+next, func(t *testing.T) {
				t.Parallel()
				own := *c // a plane of its own on the same etcd
				own.t, own.plane = t, fmt.Sprintf("first%d%s", i, next)
				if next == "a" {
					own.ttl = time.Minute // which it must not wait for
				}
				own.killedAt(at)
				own.startsAgain(next)
			})
		}
	}
}

// killedAt starts node a and kills it when it has come to the milestone: nothing
// that it sends from there on reaches etcd.
func (c *cluster) killedAt(at milestone) {
	c.t.Helper()
	g := newGate(c.t, c.endpoint, func() bool { return !c.lastRevision(c.t.Context()).is(at) })
	behind := *c
	behind.endpoint = g.address
	a := behind.spawnNode("a", "auto")
	select {
	case <-g.shut:
	case <-time.After(maxWait):
		c.t.Fatalf("it does not come to be %s", at.name)
	}
	a.kill()
	last := newRevision()
	for _, ev := range c.record().Events {
		if ev.Revision != last.at {
			last = newRevision()
		}
		last.add(ev.Revision, ev.Key, ev.Value)
	}
	if !last.is(at) {
		c.t.Fatalf("killed after %v, want it %s: %s", last, at.name, at.keys)
	}
}

// revision is the last change of a plane: its keys, with what is not the same in
// every run cut off, and all values.
type revision struct {
	at     int64
	keys   []string
	values string
}

func newRevision() *revision { return &revision{keys: []string{}} }

func (r *revision) add(at int64, key string, value []byte) {
	if dir, _, _ := strings.Cut(key, "/"); dir == "election" || dir == "history" {
		key = dir + "/"
	}
	r.at, r.keys, r.values = at, append(r.keys, key), r.values+string(value)
	slices.Sort(r.keys)
}

func (r *revision) is(m milestone) bool {
	return fmt.Sprint(r.keys) == m.keys && strings.Contains(r.values, m.value)
}

// lastRevision reads the plane's last change. A first start deletes nothing.
func (c *cluster) lastRevision(ctx context.Context) *revision {
	last, root := newRevision(), "/coordinator/"+c.plane+"/"
	resp, err := c.raw.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	if err != nil {
		return last
	}
	for _, kv := range resp.Kvs {
		if last.at == 0 || kv.ModRevision == last.at {
			last.add(kv.ModRevision, strings.TrimPrefix(string(kv.Key), root), kv.Value)
		}
	}
	return last
}

// startsAgain starts the node that is to be master after the one that was killed.
func (c *cluster) startsAgain(id string) {
	c.t.Helper()
	before := c.planeID()
	began := time.Now()
	n := c.node(id, "auto")
	n.await("MASTER")
	if took := time.Since(began); took > 20*time.Second {
		c.t.Errorf("leads after %s, the TTL is %s", took, c.ttl)
	}
	n.mustPut("entity/x", "unique")
	found := c.judge()
	if last := len(found.Terms) - 1; found.Terms[last].Node != id {
		c.t.Errorf("terms %+v, want the last of %s", found.Terms, id)
	}
	if now := c.planeID(); now == "" || (before != "" && now != before) {
		c.t.Errorf("plane id %q became %q", before, now)
	}
	n.kill()
}

// planeID is the plane's id as the store has it, or nothing.
func (c *cluster) planeID() string {
	c.t.Helper()
	resp, err := c.raw.Get(c.t.Context(), "/coordinator/"+c.plane+"/meta")
	if err != nil {
		c.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	var meta struct {
		PlaneID string `json:"plane_id"`
	}
	if err := json.Unmarshal(resp.Kvs[0].Value, &meta); err != nil || meta.PlaneID == "" {
		c.t.Fatalf("meta %q: %v", resp.Kvs[0].Value, err)
	}
	return meta.PlaneID
}

// Promise: a node killed while its embedded etcd starts for the first time starts
// from the same directory, and leads.
func TestFirstStart_KilledWithItsEmbeddedStore(t *testing.T) {
	t.Parallel()
	// What lies in the data directory when it is killed, one after the other.
	for _, file := range []string{"etcd", "etcd/lock", "etcd/member", "etcd/member/snap/db", "etcd/member/wal/*.wal", "nodes/default/a/lease"} {
		t.Run(strings.ReplaceAll(file, "/", " "), func(t *testing.T) {
			t.Parallel()
			dir, store := t.TempDir(), freeAddress(t)
			args := []string{
				"run", "--node-id", "a", "--data-dir", dir, "--embed-client-url", "http://" + store,
				"--listen", "127.0.0.1:0", "--log-format", "json",
			}
			killed := spawn(t, "a", coordinatorBin, args...)
			appears(t, filepath.Join(dir, file))
			killed.kill()
			if killed.cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("it ended by itself:\n%s", killed.output())
			}
			a := embeddedNode(t, dir, store)
			a.await("MASTER")
			a.mustPut("entity/x", "unique")
		})
	}
}

// appears waits for a file, and looks often: it is there for a moment only.
func appears(t *testing.T, pattern string) {
	t.Helper()
	deadline := time.After(maxWait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not appear", pattern)
		}
	}
}
