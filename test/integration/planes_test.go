package integration_test

import (
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Promise: planes on one etcd whose names begin alike never meet.
func TestPlanes_WhoseNamesBeginAlike(t *testing.T) {
	t.Parallel()
	first := newCluster(t, 2*time.Second)
	planes := map[string]*cluster{"p": first}
	for _, name := range []string{"pp", "p-p", "p."} {
		other := *first
		other.plane, other.nodes = name, make(map[string]*process)
		planes[name] = &other
	}
	ids := make(map[string]string)
	for name, c := range planes {
		a := c.node("a", "master") // the same id in each, and each must win at once
		a.await("MASTER")
		a.mustPut("entity/x", "of "+name)
		v, err := a.plane()
		if err != nil || len(v.Nodes) != 1 || ids[v.ID] != "" {
			t.Errorf("plane %s: %+v, %v, has the id of plane %q", name, v, err, ids[v.ID])
		}
		ids[v.ID] = name
	}
	first.node("b", "hot_standby").await("HOT_STANDBY")
	first.nodes["a"].kill()
	delete(first.nodes, "a")
	first.nodes["b"].await("MASTER")
	if a, err := first.nodes["b"].put("entity/x", []byte("of p, later")); err != nil || a.status/100 != 2 {
		t.Errorf("put: %+v, %v", a, err)
	}
	for name, c := range planes {
		terms := 1
		if name == "p" {
			terms = 2
		}
		if found := c.judge(); len(found.Terms) != terms {
			t.Errorf("plane %s had terms %+v, want %d", name, found.Terms, terms)
		}
		want := map[bool]string{true: "of p, later", false: "of " + name}[name == "p"]
		c.holdsOnly(map[string]string{"entity/x": want})
	}
	resp, err := first.raw.Get(t.Context(), "", clientv3.WithFromKey(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		rest, ours := strings.CutPrefix(string(kv.Key), "/coordinator/")
		plane, _, _ := strings.Cut(rest, "/")
		if !ours || planes[plane] == nil {
			t.Errorf("key %s belongs to no plane", kv.Key)
		}
	}
}
