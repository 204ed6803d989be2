package etcdstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/etcdauth"
	"github.com/coordinator-ha/coordinator/modes"
)

// runs starts a node on the store and returns it with what stops it.
func (l *lab) runs(id string, priority int) (*coordinator.Node, func()) {
	l.t.Helper()
	node, err := coordinator.New(coordinator.Config{
		ID: id, Plane: "p", URI: "http://" + id, Version: "1.0.0", Mode: modes.Auto, Priority: priority,
		Logger: zaptest.NewLogger(l.t),
	}, l.node(id))
	l.must(err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := node.Run(ctx); err != nil {
			l.t.Errorf("%s ends with %v", id, err)
		}
	})
	return node, func() { stop(); running.Wait() }
}

// comesTo waits until a node has come to a state, and returns how long that took.
func (l *lab) comesTo(n *coordinator.Node, to modes.State, within time.Duration) time.Duration {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		took := time.Since(began)
		if n.Status().State == to {
			return took
		}
		if took > within {
			s := n.Status()
			l.t.Fatalf("%s is %s after %s, want %s; %s", s.ID, s.State, took, to, s.LastError)
		}
	}
}

// Promise: whichever key etcd does not let one candidate write, another one leads. The one
// that it was to be says why it did not.
func TestStuck_PermissionsOfOneNode(t *testing.T) {
	root := guarded(t)
	for _, key := range []string{"term", "election/", "history/", "nodes/b"} {
		t.Run(strings.Trim(key, "/"), func(t *testing.T) {
			l := newLabOn(t, root)
			auto := []modes.Mode{modes.Auto}
			l.grant(true, map[string][]modes.Mode{"a": auto, "b": auto, "c": auto})
			l.as = func(cfg *etcdstore.Config) { cfg.TTL = etcdstore.MinTTL }
			var nodes [3]*coordinator.Node
			for i, id := range []string{"a", "b", "c"} {
				as := l.as
				l.as = func(cfg *etcdstore.Config) { as(cfg); cfg.User, cfg.Password = id, samePassword }
				var stop func()
				nodes[i], stop = l.runs(id, -i) // the earlier the better
				l.as = as
				defer stop()
				l.comesTo(nodes[i], []modes.State{modes.StateMaster, modes.StateHotStandby, modes.StateHotStandby}[i], 10*time.Second)
				l.eventually(id+" stands", func() bool { return nodes[i].Status().InElection || i == 0 })
			}
			role := etcdauth.Roles(l.prefix, "p", "b")[0]
			for _, p := range role.Permissions {
				if p.Type == etcdauth.PermissionWrite && p.Key == l.key(key) {
					_, err := l.raw.RoleRevokePermission(l.ctx(), role.Name, p.Key, p.RangeEnd)
					l.must(err)
				}
			}
			lease := l.leaseOf("a")
			l.must(l.stores["a"].Close())
			delete(l.stores, "a")
			if _, err := l.raw.Revoke(l.ctx(), lease); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				l.must(err) // the node may have come first
			}
			took := l.comesTo(nodes[2], modes.StateMaster, 2*driver.StallLimit(etcdstore.MinTTL)+5*time.Second)
			t.Logf("c leads after %s", took)
			if key != "nodes/b" { // which keeps it from publishing anything
				l.eventually("b says why", func() bool { return strings.Contains(nodes[1].Status().LastError, "does not permit") })
			}
		})
	}
}

// valve is a way to etcd that can be shut without a word.
type valve struct {
	shut atomic.Bool
	open chan struct{} // closed when all is over
}

// dial makes connections that pass the valve.
func (v *valve) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	return &valveConn{c, v}, err
}

type valveConn struct {
	net.Conn
	valve *valve
}

// Write loses what it is given while the valve is shut.
func (c *valveConn) Write(b []byte) (int, error) {
	if c.valve.shut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Read brings nothing while the valve is shut.
func (c *valveConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.valve.shut.Load() {
		<-c.valve.open
	}
	return n, err
}

// Promise: a node whose requests go nowhere, while its lease is renewed on a connection of
// its own, keeps nobody from leading: not as the candidate who is first, and not as master.
func TestStuck_RequestsGoNowhere(t *testing.T) {
	for _, first := range []string{"candidate", "master"} {
		t.Run(first, func(t *testing.T) {
			l := newLab(t)
			v := &valve{open: make(chan struct{})}
			made := 0
			cut := l.config()
			cut.TTL, cut.Endpoints = etcdstore.MinTTL, nil
			cut.Client = func() (*clientv3.Client, error) {
				cfg := clientv3.Config{Endpoints: []string{l.endpoint}}
				if made++; made == 1 { // the second is for renewals
					cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(v.dial)}
				}
				return clientv3.New(cfg)
			}
			l.as = func(cfg *etcdstore.Config) { cfg.TTL = etcdstore.MinTTL }
			l.stores["b"] = l.open(cut)
			order := []string{"b", "c"}
			if first == "candidate" {
				order = []string{"a", "b", "c"}
			}
			nodes := make(map[string]*coordinator.Node)
			for i, id := range order {
				var stop func()
				nodes[id], stop = l.runs(id, -i)
				defer stop()
				to := modes.StateHotStandby
				if i == 0 {
					to = modes.StateMaster
				}
				l.comesTo(nodes[id], to, 10*time.Second)
				l.eventually(id+" stands", func() bool { return i == 0 || nodes[id].Status().InElection })
			}
			defer close(v.open)
			v.shut.Store(true)
			if first == "candidate" {
				l.Revoke("a")
				l.must(l.stores["a"].Close())
				delete(l.stores, "a")
			}
			took := l.comesTo(nodes["c"], modes.StateMaster, driver.StallLimit(etcdstore.MinTTL)+2*etcdstore.MinTTL+5*time.Second)
			t.Logf("c leads after %s", took)
			l.eventually("b says why", func() bool { return strings.Contains(nodes["b"].Status().LastError, "answered nothing else") })
		})
	}
}

// Promise: a pause is over when it says so, whatever becomes of its key, which hangs here
// on no lease and would stay for ever.
func TestPause_IsOverThoughItsKeyStays(t *testing.T) {
	l := newLab(t)
	until := time.Now().Add(500 * time.Millisecond).UTC()
	text, err := json.Marshal(driver.Pause{Until: &until, By: "operator"})
	l.must(err)
	_, err = l.raw.Put(l.ctx(), l.key("pause"), string(text))
	l.must(err)
	as := storetest.Candidate{Decide: func(p driver.Plane) storetest.Decision {
		if p.Pause != nil {
			return storetest.Hold
		}
		return storetest.Take
	}}
	if _, err := as.Lead(l.ctx(), l.join("a")); err != nil {
		t.Fatal(err)
	}
	if time.Now().Before(until) {
		t.Error("the pause ended too early")
	}
	if n := len(l.get(l.key("pause")).Kvs); n != 0 {
		t.Error("the pause that was over is still there after the term has begun")
	}
}

// A key that comes to be a pause anew while a term begins is not the one that is over.
func TestPause_AnotherOneIsInForce(t *testing.T) {
	l := newLab(t)
	past, next := time.Now().Add(-time.Minute).UTC(), time.Now().Add(time.Minute).UTC()
	write := func(until time.Time) {
		text, err := json.Marshal(driver.Pause{Until: &until, By: "operator"})
		l.must(err)
		_, err = l.raw.Put(l.ctx(), l.key("pause"), string(text))
		l.must(err)
	}
	write(past)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	as := storetest.Candidate{Decide: func(driver.Plane) storetest.Decision { write(next); return storetest.Take }}
	if _, err := as.Lead(ctx, l.join("a")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a term begins in a pause: %v", err)
	}
}

// Keys that were put into the election by mistake, or copied there: on no lease, on
// another's, on one that no record hangs on, of a plane within the plane, or of none.
func TestStray_KeysOfAllKinds(t *testing.T) {
	l := newLab(t)
	lease, err := l.raw.Grant(l.ctx(), 60)
	l.must(err)
	for key, opts := range map[string][]clientv3.OpOption{
		"election/4d2":                     nil,
		"election/not-hex":                 {clientv3.WithLease(lease.ID)},
		"election/nodes/a":                 {clientv3.WithLease(lease.ID)},
		"election/election/1":              nil,
		"election/":                        nil,
		"election/0":                       nil,
		"election/" + hex(int64(lease.ID)): {clientv3.WithLease(lease.ID)},
	} {
		_, err := l.raw.Put(l.ctx(), l.key(key), "x", opts...)
		l.must(err)
	}
	p, err := l.node("a").Plane(l.ctx())
	l.must(err)
	if len(p.Strays) != 7 {
		t.Errorf("strays = %+v", p.Strays)
	}
	a, stopA := l.runs("a", 0)
	l.comesTo(a, modes.StateMaster, 10*time.Second)
	b, stopB := l.runs("b", 0)
	defer stopB()
	l.comesTo(b, modes.StateHotStandby, 10*time.Second)
	l.eventually("b stands", func() bool { return b.Status().InElection })
	stopA()
	l.comesTo(b, modes.StateMaster, 10*time.Second)
}

// A disabled node shares its plane with no key of the election, and says which it is.
func TestStray_KeepsADisabledNodeOutAndIsNamed(t *testing.T) {
	l := newLab(t)
	l.Stray("nobody")
	_, _, err := l.node("a").JoinExclusive(l.ctx(), recordOf("a"), "")
	if !errors.Is(err, driver.ErrExclusive) || !strings.Contains(err.Error(), l.key("election/nobody")) {
		t.Errorf("joining exclusively = %v", err)
	}
}

// A record that names a key outside of the election keeps nobody from leading.
func TestTerm_NamesAnotherKey(t *testing.T) {
	l := newLab(t)
	a := l.join("a")
	before := l.elect(a)
	l.must(before.Resign(l.ctx(), recordOf("a")))
	for _, value := range []string{
		`{"term":7,"key":"` + l.key("meta") + `","node":"a"}`, `{"term":"7"}`, `{"term":7.5}`, `null`, `[]`, ``, `{"term":9e18}`,
	} {
		_, err := l.raw.Put(l.ctx(), l.key("term"), value)
		l.must(err)
		next := l.elect(a)
		if next.Number() <= before.Number() {
			t.Errorf("after %q: term %d follows %d", value, next.Number(), before.Number())
		}
		before = next
		l.must(next.Resign(l.ctx(), recordOf("a")))
	}
}

func hex(lease int64) string { return strconv.FormatInt(lease, 16) }

// A guard that no disabled node's end takes away keeps others out, and is named to
// whom it keeps out, and to whoever looks at the plane; so is a pause that says nothing.
func TestStray_GuardAndPauseAreNamed(t *testing.T) {
	l := newLab(t)
	for _, value := range []string{"", "garbage", "{}", "null", `{"node":"q","uri":"http://q"}`} {
		_, err := l.raw.Put(l.ctx(), l.key("guard"), value)
		l.must(err)
		if _, err := l.node("a").Join(l.ctx(), recordOf("a")); !errors.Is(err, driver.ErrExclusive) || !strings.Contains(err.Error(), l.key("guard")) {
			t.Errorf("join with guard %q = %v", value, err)
		}
		if _, _, err := l.node("b").JoinExclusive(l.ctx(), recordOf("b"), ""); !errors.Is(err, driver.ErrExclusive) || !strings.Contains(err.Error(), l.key("guard")) {
			t.Errorf("joining exclusively with guard %q = %v", value, err)
		}
		p, err := l.node("c").Plane(l.ctx())
		l.must(err)
		if len(p.Strays) != 1 || !strings.Contains(p.Strays[0].Why, "no node can join") || p.Exclusive == nil {
			t.Errorf("guard %q: strays %+v, exclusive %+v", value, p.Strays, p.Exclusive)
		}
	}
	_, err := l.raw.Delete(l.ctx(), l.key("guard"))
	l.must(err)
	_, err = l.raw.Put(l.ctx(), l.key("pause"), "garbage")
	l.must(err)
	p, err := l.node("c").Plane(l.ctx())
	l.must(err)
	if p.Pause == nil || len(p.Strays) != 1 || !strings.Contains(p.Strays[0].Why, "nobody is promoted") {
		t.Errorf("pause %+v, strays %+v", p.Pause, p.Strays)
	}
}
