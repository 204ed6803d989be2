package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// deed is something done to the plane's keys by hand.
type deed struct {
	name string
	do   func(h *hand, master, standby string)
	// ends says that it ends the term. Another deed leaves the master where it is.
	ends bool
}

// deeds are done in this order, so that each meets what the others have left.
var deeds = []deed{
	{"lease of the standby revoked", func(h *hand, _, s string) { h.revoke(h.lease("nodes/" + s)) }, false},
	{"lease of the master revoked", func(h *hand, m, _ string) { h.revoke(h.lease("nodes/" + m)) }, true},
	{"election key of the standby deleted", func(h *hand, _, s string) { h.delete(h.candidate(s)) }, false},
	{"election key of the master deleted", func(h *hand, m, _ string) { h.delete(h.candidate(m)) }, true},
	{"term passed over the others, and its record deleted", func(h *hand, m, _ string) {
		h.handover(h.youngest(m)) // whoever follows has a key older than this term
		h.delete("term")
	}, true},
	{"term record deleted", func(h *hand, _, _ string) { h.delete("term") }, true},
	{"term record garbage", func(h *hand, _, _ string) { h.put("term", "garbage") }, true},
	{"term record of a stranger", func(h *hand, _, _ string) { h.put("term", `{"term":1,"node":"x","key":"/x"}`) }, true},
	{"term record of another kind", func(h *hand, _, _ string) { h.put("term", `{"lunch":"at noon"}`) }, true},
	{"term record emptied", func(h *hand, _, _ string) { h.put("term", "") }, true},
	{"record of the standby deleted", func(h *hand, _, s string) { h.delete("nodes/" + s) }, false},
	{"record of the master deleted", func(h *hand, m, _ string) { h.delete("nodes/" + m) }, false},
	{"record of the standby garbage", func(h *hand, _, s string) { h.put("nodes/"+s, "garbage") }, false},
	{"record of the master garbage", func(h *hand, m, _ string) { h.put("nodes/"+m, "garbage") }, false},
	{"record of the standby garbage on its lease", func(h *hand, _, s string) {
		h.put("nodes/"+s, "garbage", clientv3.WithIgnoreLease())
	}, false},
	{"record of the standby taken off its lease", func(h *hand, _, s string) { h.put("nodes/"+s, h.value("nodes/"+s)) }, false},
	{"record of the standby a stranger's", func(h *hand, m, s string) { h.put("nodes/"+s, h.value("nodes/"+m)) }, false},
	{"records of nobody", func(h *hand, _, _ string) {
		h.put("nodes/x", "garbage")
		h.put("left/x", "garbage")
		h.put("history/x", "garbage")
		h.put("unheard-of", "garbage")
	}, false},
	{"handover garbage", func(h *hand, _, _ string) { h.put("handover", "garbage") }, false},
	{"handover of strangers", func(h *hand, _, _ string) { h.put("handover", `{"id":"x","from":"y","to":"z"}`) }, false},
	{"handover to the standby that nobody offered", func(h *hand, m, s string) {
		h.put("handover", fmt.Sprintf(`{"id":"x","from":%q,"to":%q}`, m, s))
	}, false},
	{"meta deleted", func(h *hand, _, _ string) { h.delete("meta") }, false},
	{"term over without meta", func(h *hand, m, _ string) { h.delete(h.candidate(m)) }, true},
	{"pause garbage", func(h *hand, _, _ string) { h.put("pause", "garbage") }, false},
	{"pause garbage gone", func(h *hand, _, _ string) { h.delete("pause") }, false},
	{"lease of every node revoked", func(h *hand, _, _ string) {
		for id := range h.nodes {
			h.revoke(h.lease("nodes/" + id))
		}
	}, true},
}

func (h *hand) revoke(lease clientv3.LeaseID) {
	h.t.Helper()
	if _, err := h.raw.Revoke(h.t.Context(), lease); err != nil {
		h.t.Fatal(err)
	}
}

// youngest is the candidate beside the master that came to the election last.
func (h *hand) youngest(master string) string {
	h.t.Helper()
	var last int64
	var youngest string
	for id := range h.nodes {
		resp, err := h.raw.Get(h.t.Context(), h.key(h.candidate(id)))
		if err != nil {
			h.t.Fatal(err)
		}
		if id != master && len(resp.Kvs) == 1 && resp.Kvs[0].CreateRevision > last {
			last, youngest = resp.Kvs[0].CreateRevision, id
		}
	}
	return youngest
}

func (h *hand) handover(to string) {
	h.t.Helper()
	if code, _, stderr := command(h.t, "handover", "--to", to, "--server", h.nodes[to].url); code != 0 {
		h.t.Fatalf("handover to %s: %d %s", to, code, stderr)
	}
}

// Promise: whatever somebody does to the plane's keys by hand, no node ends, the
// plane comes back to one master by itself, terms rise and never overlap, the
// plane stays the one it was, and no acknowledged write is lost.
func TestHands_EditThePlane(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3*time.Second)
	c.begin()
	h := &hand{cluster: c}
	w := startWriters(t, 2, c.all()...)
	calm := c.calm()
	first, _ := c.nodes["a"].plane()
	for _, d := range deeds {
		master, before := c.led()
		standby := map[bool]string{true: "c", false: "b"}[master.name == "b"]
		began := time.Now()
		d.do(h, master.name, standby)
		h.mended(d, before)
		_, after := c.led()
		took := time.Since(began).Round(time.Millisecond)
		t.Logf("%-52s term %d → %d, in order again after %s", d.name, before, after, took)
		if took > c.ttl+slack {
			t.Errorf("%s: in order again after %s only", d.name, took)
		}
		if after < before || (after > before) != d.ends {
			t.Errorf("%s: term %d follows %d", d.name, after, before)
		}
		w.more(t, 5)
		c.live()
	}
	told := w.stop()
	calm()
	found := h.judge(told...)
	if v, err := c.nodes["d"].plane(); err != nil || v.ID != first.ID || first.ID == "" {
		t.Errorf("plane id %q, %v, was %q", v.ID, err, first.ID)
	}
	var meta struct{ PlaneID string }
	if err := json.Unmarshal([]byte(strings.ReplaceAll(c.value("meta"), "plane_id", "PlaneID")), &meta); err != nil || meta.PlaneID != first.ID {
		t.Errorf("meta %s, %v, want id %s", c.value("meta"), err, first.ID)
	}
	for name, payload := range found.Latest {
		for p := range maps.Values(c.nodes) {
			eventually(t, maxWait, func() error { return p.reads(name, payload) })
		}
	}
}

// mended waits until the nodes have met a deed: the term has changed if it is to
// change, and each live node's record is there, on a lease.
func (h *hand) mended(d deed, before int64) {
	h.t.Helper()
	eventually(h.t, maxWait, func() error {
		if v, err := h.nodes["d"].plane(); err != nil || (d.ends && v.Term == before) {
			return fmt.Errorf("%s: term is %d as before, %w", d.name, v.Term, err)
		}
		for id := range h.nodes {
			resp, err := h.raw.Get(h.t.Context(), h.key("nodes/"+id))
			if err != nil || len(resp.Kvs) != 1 {
				return fmt.Errorf("%s: no record of %s, %w", d.name, id, err)
			}
			var r struct{ ID string }
			if err := json.Unmarshal(resp.Kvs[0].Value, &r); err != nil || r.ID != id || resp.Kvs[0].Lease == 0 {
				return fmt.Errorf("%s: record of %s is %.40q on lease %x, %w", d.name, id, resp.Kvs[0].Value, resp.Kvs[0].Lease, err)
			}
		}
		return nil
	})
}
