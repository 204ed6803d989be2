package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
)

// data is where an etcd that keeps to dir has its data.
func data(dir string) string { return filepath.Join(dir, "member") }

// swap kills the etcd and starts it again, at the same address, on other data.
func (c *cluster) swap(from string) {
	c.t.Helper()
	c.etcd.kill()
	if err := os.RemoveAll(data(c.etcdDir)); err != nil {
		c.t.Fatal(err)
	}
	if from != "" {
		c.copyData(from, c.etcdDir)
	}
	c.startEtcd()
}

func (c *cluster) copyData(from, to string) {
	c.t.Helper()
	if err := os.CopyFS(data(to), os.DirFS(data(from))); err != nil {
		c.t.Fatal(err)
	}
}

// backup copies the data of the etcd while it is down, and starts it again.
func (c *cluster) backup() string {
	c.t.Helper()
	dir := c.t.TempDir()
	c.etcd.kill()
	c.copyData(c.etcdDir, dir)
	c.startEtcd()
	return dir
}

// stranger makes the data of another cluster, which is ahead of this one, with the
// same plane of other content in it.
func (c *cluster) stranger() string {
	c.t.Helper()
	other := newCluster(c.t, c.ttl)
	ctx := c.t.Context()
	ahead := c.revision() + 1000
	for key, value := range map[string]string{
		"meta":               c.value("meta"),
		"mementos/entity/x":  "memento/1 node=z term=1 op=1 type=text/plain\nof a stranger",
		"mementos/entity/zz": "memento/1 node=z term=1 op=2 type=text/plain\nunheard of",
	} {
		if _, err := other.raw.Put(ctx, c.key(key), value); err != nil {
			c.t.Fatal(err)
		}
	}
	for other.revision() < ahead {
		if _, err := other.raw.Put(ctx, "/elsewhere", ""); err != nil {
			c.t.Fatal(err)
		}
	}
	other.etcd.kill()
	return other.etcdDir
}

// Promise: a store that is restored from an older backup, lost, or replaced by
// another cluster under the same address, is noticed by every running node: it says
// so, drops its term and its mirror, and reloads; terms still rise, and the plane
// comes back to one master by itself.
func TestStore_GoesBackInTimeUnderALivePlane(t *testing.T) {
	// Each returns what the store is replaced by; then comes what it holds.
	cases := map[string]struct {
		data func(c *cluster) string
		want map[string]string
	}{
		"restored from a backup": {(*cluster).backup, map[string]string{"entity/x": "first", "entity/y": "first"}},
		"another cluster":        {(*cluster).stranger, map[string]string{"entity/x": "of a stranger", "entity/zz": "unheard of"}},
		"lost":                   {func(*cluster) string { return "" }, nil},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 4*time.Second)
			c.begin()
			for _, id := range []string{"x", "y"} {
				c.nodes["a"].mustPut("entity/"+id, "first")
			}
			from := f.data(c)
			master, _ := c.led()
			for i := range 20 {
				master.mustPut(fmt.Sprintf("entity/later%d", i), fmt.Sprint(i))
			}
			master.mustPut("entity/x", "later")
			(&hand{cluster: c}).handover(map[bool]string{true: "c", false: "b"}[master.name == "b"])
			_, before := c.led()
			first, _ := master.plane()
			calm := c.calm()

			began := time.Now()
			c.swap(from)
			for _, p := range c.nodes {
				p.says("store restored")
			}
			var after int64
			eventually(t, maxWait, func() error {
				if master, after = c.led(); after <= before {
					return fmt.Errorf("term %d follows %d", after, before)
				}
				return nil
			})
			took := time.Since(began).Round(time.Millisecond)
			t.Logf("term %d → %d, in order again after %s", before, after, took)
			if took > 2*c.ttl+slack {
				t.Errorf("in order again after %s only", took)
			}
			c.holdsOnly(f.want)
			if v, err := master.plane(); err != nil || v.ID != first.ID {
				t.Errorf("plane id is %q, %v, was %q", v.ID, err, first.ID)
			}
			master.mustPut("entity/new", "after all")
			for _, p := range c.nodes {
				eventually(t, maxWait, func() error { return p.reads("entity/new", "after all") })
			}
			c.live()
			calm()
		})
	}
}

// holdsOnly wants the store and every node's copy to hold these mementos and no
// others, byte for byte.
func (c *cluster) holdsOnly(want map[string]string) {
	c.t.Helper()
	prefix := c.key("mementos/")
	resp, err := c.raw.Get(c.t.Context(), prefix, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != len(want) {
		c.t.Fatalf("store holds %d mementos, %v, want %d", len(resp.Kvs), err, len(want))
	}
	for _, kv := range resp.Kvs {
		name := strings.TrimPrefix(string(kv.Key), prefix)
		if _, payload, _ := strings.Cut(string(kv.Value), "\n"); payload != want[name] {
			c.t.Errorf("store holds %s as %q, want %q", name, payload, want[name])
		}
	}
	for id, p := range c.nodes {
		eventually(c.t, maxWait, func() error { // the old copy is served until the new one is complete
			for name, payload := range want {
				if err := p.reads(name, payload); err != nil {
					return err
				}
			}
			var n struct{ Mirror struct{ Count int } }
			if err := p.get("/v1/node", &n); err != nil || n.Mirror.Count != len(want) {
				return fmt.Errorf("%s holds %d mementos, %w, want %d", id, n.Mirror.Count, err, len(want))
			}
			return nil
		})
	}
}

// overtake has data that lie still go on by some revisions of no plane.
func (c *cluster) overtake(dir string, by int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	defer etcd.Close()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	for range by {
		if _, err := client.Put(ctx, "/elsewhere", ""); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Promise: a store put back to an older copy under sixteen writers, once as it was and
// once beyond the revision that everybody knows, leaves no node with another copy than
// the store's: no phantom, and nothing missing.
func TestStore_IsOvertakenByWriters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	c.begin()
	var through []*process
	for _, p := range c.nodes {
		through = append(through, p)
	}
	w := startWriters(t, 16, through...)
	w.more(t, 50)
	from := c.backup()
	for _, overtaken := range []bool{false, true} {
		w.more(t, 40)
		if overtaken {
			c.overtake(from, 3000)
		}
		c.nodes["a"].mustPut("entity/phantom", "of a past that is lost")
		c.swap(from)
		w.more(t, 200)
	}
	if head := c.revision(); head < 3000 {
		t.Fatalf("store at revision %d was not overtaken", head)
	}
	w.stop()
	c.led()
	want := make(map[string]string)
	prefix := c.key("mementos/")
	resp, err := c.raw.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		_, payload, _ := strings.Cut(string(kv.Value), "\n")
		want[strings.TrimPrefix(string(kv.Key), prefix)] = payload
	}
	if _, there := want["entity/phantom"]; there {
		t.Fatal("the store has what was lost")
	}
	c.holdsOnly(want)
}
