package integration_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fill puts values until etcd has no room for more. They replace each other, so
// that compaction makes room again.
func (c *cluster) fill() {
	c.t.Helper()
	value := strings.Repeat("x", 512<<10)
	for range 1000 {
		_, err := c.raw.Put(c.t.Context(), "/filler", value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Fatal("etcd does not fill up")
}

// makeRoom does what an operator does about a full etcd.
func (c *cluster) makeRoom() {
	c.t.Helper()
	ctx := c.t.Context()
	if _, err := c.raw.Compact(ctx, c.revision(), clientv3.WithCompactPhysical()); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.raw.Defragment(ctx, c.endpoint); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.raw.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		c.t.Fatal(err)
	}
}

// want sends a request to a node and wants the status.
func (p *process) want(method, path, body string, status int) {
	p.t.Helper()
	a, err := call(p.t.Context(), method, p.url+path, nil, []byte(body))
	if err != nil || a.status != status {
		p.t.Errorf("%s %s through %s: %+v %v, want %d", method, path, p.name, a, err, status)
	}
}

// Promise: with the store full a live master keeps its term, puts answer 507,
// deletes work, and status and log say what is wrong. Nobody new can lead; when
// there is room again the plane comes back by itself. A clean stop is not delayed.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	c := newCluster(t, ttl, "--quota-backend-bytes", "8000000")
	c.begin()
	a, b, d := c.nodes["a"], c.nodes["b"], c.nodes["d"]
	a.mustPut("entity/x", "kept")
	a.mustPut("entity/y", "deleted")
	_, term := c.led()
	c.fill()
	calm := c.calm()

	a.want(http.MethodPut, "/v1/mementos/entity/x", "more", http.StatusInsufficientStorage)
	b.want(http.MethodPut, "/v1/mementos/entity/x", "more", http.StatusInsufficientStorage)
	a.want(http.MethodDelete, "/v1/mementos/entity/y", "", http.StatusNoContent)
	a.says("store is full")
	for _, p := range c.nodes {
		eventually(t, maxWait, func() error { // the store is asked once a second
			if v, err := p.plane(); err != nil || !strings.Contains(v.StoreError, "full") {
				return fmt.Errorf("%s does not say in /v1/plane that the store is full: %+v, %w", p.name, v, err)
			}
			return nil
		})
		if code, out, _ := command(t, "status", "--server", p.url); code != 0 || !strings.Contains(out, "full") {
			t.Errorf("status of %s does not say that the store is full: %d\n%s", p.name, code, out)
		}
	}
	h := &hand{cluster: c}
	h.revoke(h.lease("nodes/d")) // it cannot join again while there is no room for its record
	d.says("store is full")
	<-time.After(2 * ttl)
	if v, err := a.plane(); err != nil || v.Term != term || v.Master == nil || *v.Master != "a" {
		t.Errorf("plane = %+v, %v, want a still in term %d", v, err, term)
	}
	a.want(http.MethodGet, "/role/writable", "", http.StatusOK)
	c.stops("b")

	a.kill()
	delete(c.nodes, "a")
	c.nodes["c"].says("store is full")
	c.idle(2*ttl + time.Second)
	c.judge()
	c.makeRoom()
	began := time.Now()
	master, next := c.led()
	t.Logf("term %d → %d, %s leads %s after there was room", term, next, master.name, time.Since(began).Round(time.Millisecond))
	if next <= term {
		t.Errorf("term %d follows %d", next, term)
	}
	master.mustPut("entity/x", "more")
	c.holdsOnly(map[string]string{"entity/x": "more"})
	calm()

	c.fill()
	c.stops(master.name)
}

// stops ends a node by a signal, and wants that to take no long time.
func (c *cluster) stops(id string) {
	c.t.Helper()
	p := c.nodes[id]
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.exit(maxWait); code != 0 {
		c.t.Errorf("%s exits with %d", id, code)
	}
	c.t.Logf("%s stopped after %s", id, time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 2*time.Second+slack {
		c.t.Errorf("%s took %s to stop", id, took)
	}
	delete(c.nodes, id)
}

// alarm raises an alarm of etcd's, or ends it.
func (c *cluster) alarm(name string, raised bool) {
	c.t.Helper()
	action := pb.AlarmRequest_DEACTIVATE
	if raised {
		action = pb.AlarmRequest_ACTIVATE
	}
	status, err := c.raw.Status(c.t.Context(), c.endpoint)
	if err != nil {
		c.t.Fatal(err)
	}
	// etcd's client can disarm an alarm and not raise one.
	_, err = pb.NewMaintenanceClient(c.raw.ActiveConnection()).Alarm(c.t.Context(), &pb.AlarmRequest{
		Action: action, MemberID: status.Header.MemberId, Alarm: pb.AlarmType(pb.AlarmType_value[name]),
	})
	if err != nil {
		c.t.Fatal(err)
	}
}
