package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// This file holds what the tests of faults share: how a plane is as its nodes
// tell, and that nodes neither end nor spin while something is wrong.

// planeView is a plane as a node tells it.
type planeView struct {
	ID         string  `json:"plane_id"`
	Master     *string `json:"master"`
	Term       int64   `json:"term"`
	StoreError string  `json:"store_error"`
	Nodes      []struct{ ID, State string }
}

// plane asks a node for its plane.
func (p *process) plane() (v planeView, err error) {
	err = p.get("/v1/plane", &v)
	return v, err
}

// led waits until one node leads, all the others stand by and every node says the
// same, and returns the master and its term.
func (c *cluster) led() (*process, int64) {
	c.t.Helper()
	var master *process
	var term int64
	eventually(c.t, maxWait, func() error {
		master, term = nil, 0
		for id, p := range c.nodes {
			v, err := p.plane()
			switch {
			case err != nil:
				return err
			case v.Master == nil || v.StoreError != "" || len(v.Nodes) != len(c.nodes):
				return fmt.Errorf("%s sees %+v", id, v)
			case term != 0 && v.Term != term:
				return fmt.Errorf("terms %d and %d", term, v.Term)
			}
			term = v.Term
			if *v.Master == id {
				master = p
				if err := p.role("writable", http.StatusOK); err != nil {
					return err
				}
			} else if err := settled(p); err != nil {
				return err
			}
		}
		if master == nil {
			return fmt.Errorf("term %d is nobody's", term)
		}
		return nil
	})
	return master, term
}

// settled returns nil when a node that does not lead is what its mode asks for
// and, if it is to be a candidate, is one.
func settled(p *process) error {
	var n struct{ Mode, State string }
	if err := p.get("/v1/node", &n); err != nil {
		return err
	}
	switch n.State {
	case "HOT_BACKUP":
		return nil
	case "HOT_STANDBY", "STANDBY":
		return p.role("promotable", http.StatusOK)
	default:
		return fmt.Errorf("%s of mode %s is %s", p.name, n.Mode, n.State)
	}
}

// role returns nil when the node answers so for a role.
func (p *process) role(role string, want int) error {
	a, err := call(p.t.Context(), http.MethodGet, p.url+"/role/"+role, nil, nil)
	if err != nil {
		return err
	}
	if a.status != want {
		return fmt.Errorf("%s answers %d for role %s, want %d", p.name, a.status, role, want)
	}
	return nil
}

// live wants every node to run and to say that it is live.
func (c *cluster) live() {
	c.t.Helper()
	for id, p := range c.nodes {
		select {
		case <-p.done:
			c.t.Fatalf("%s has ended", id)
		default:
		}
		if err := p.get("/livez", &struct{}{}); err != nil {
			c.t.Errorf("%s: %v", id, err)
		}
	}
}

// lines counts what a node has logged.
func (p *process) lines() int { return strings.Count(p.output(), "\n") }

// worked is the processor time that a process has used so far; always 0 where the
// system does not tell.
func (p *process) worked() time.Duration {
	p.t.Helper()
	const tick = 10 * time.Millisecond
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name, which may hold spaces
	fields := strings.Fields(rest)
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(user+system) * tick
}

// says waits until the node's log holds a text.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, maxWait, func() error {
		if !strings.Contains(p.output(), text) {
			return fmt.Errorf("%s does not say %q", p.name, text)
		}
		return nil
	})
}

// restraint is the most that a node in trouble may log in a second, on average:
// enough to say what each of its loops meets, every second or two.
const restraint = 10

// calm counts from now what each node logs; the returned func wants that to have
// been little.
func (c *cluster) calm() func() {
	began, before := time.Now(), make(map[string]int)
	for id, p := range c.nodes {
		before[id] = p.lines()
	}
	return func() {
		c.t.Helper()
		most := restraint * int(time.Since(began)/time.Second+5)
		for id, p := range c.nodes {
			if n := p.lines() - before[id]; n > most {
				c.t.Errorf("%s logged %d lines in %s, want at most %d", id, n, time.Since(began).Round(time.Second), most)
			} else {
				c.t.Logf("%s logged %d lines in %s", id, n, time.Since(began).Round(time.Second))
			}
		}
	}
}

// key is the full name of a key of the plane.
func (c *cluster) key(rest string) string { return "/coordinator/" + c.plane + "/" + rest }

// value reads a key of the plane, and fails if it is not there.
func (c *cluster) value(rest string) string {
	c.t.Helper()
	resp, err := c.raw.Get(c.t.Context(), c.key(rest))
	if err != nil || len(resp.Kvs) != 1 {
		c.t.Fatalf("%s: %v, %v", rest, resp, err)
	}
	return string(resp.Kvs[0].Value)
}

// hand is somebody who edits the plane's keys, and tells the judge.
type hand struct {
	*cluster
	did []int64 // revisions
}

func (h *hand) put(rest, value string, options ...clientv3.OpOption) {
	h.t.Helper()
	resp, err := h.raw.Put(h.t.Context(), h.key(rest), value, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.did = append(h.did, resp.Header.Revision)
}

func (h *hand) delete(rest string) {
	h.t.Helper()
	resp, err := h.raw.Delete(h.t.Context(), h.key(rest))
	if err != nil || resp.Deleted != 1 {
		h.t.Fatalf("delete %s: %v, %v", rest, resp, err)
	}
	h.did = append(h.did, resp.Header.Revision)
}

// judge judges the plane's history, but for what was done by hand.
func (h *hand) judge(told ...evidence.Op) judge.Verdict {
	h.t.Helper()
	run := h.account(told)
	run.Hands = h.did
	return judged(h.t, run)
}

// lease is the lease that a key of the plane hangs on.
func (h *hand) lease(rest string) clientv3.LeaseID {
	h.t.Helper()
	resp, err := h.raw.Get(h.t.Context(), h.key(rest))
	if err != nil || len(resp.Kvs) != 1 {
		h.t.Fatalf("%s: %v, %v", rest, resp, err)
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}

// candidate is the election key of a node.
func (h *hand) candidate(node string) string {
	h.t.Helper()
	return fmt.Sprintf("election/%x", int64(h.lease("nodes/"+node)))
}

// begin starts the plane that most of these tests use: a leads, b and c stand by,
// and d holds a backup copy.
func (c *cluster) begin() {
	c.t.Helper()
	c.node("a", "auto").await("MASTER")
	for _, id := range []string{"b", "c"} {
		c.node(id, "hot_standby").await("HOT_STANDBY")
	}
	c.node("d", "hot_backup").await("HOT_BACKUP")
}

// all returns the nodes.
func (c *cluster) all() []*process {
	var all []*process
	for _, p := range c.nodes {
		all = append(all, p)
	}
	return all
}
