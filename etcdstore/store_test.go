package etcdstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/rebind"
)

// endpoint is the one etcd that all tests of this package share; each test has a
// prefix of its own.
var endpoint string

// labs counts the labs made, for their prefixes. No two tests run at once here.
var labs int

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "etcdstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		panic(err)
	}
	defer etcd.Close()
	endpoint = etcd.Endpoint()
	warm(ctx)
	m.Run()
}

// warm has etcd start what it starts with its first client, so that the tests can
// tell what they leave behind.
func warm(ctx context.Context) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if _, err := c.Get(ctx, "x"); err != nil {
		panic(err)
	}
}

// lab is an empty plane in the shared etcd.
type lab struct {
	t        *testing.T
	endpoint string
	prefix   string
	as       func(*etcdstore.Config) // as whom nodes reach it
	raw      *clientv3.Client
	stores   map[string]*etcdstore.Store
	wires    map[string]*wire // those that LoseAnswer has put in
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabOn(t, clientv3.Config{Endpoints: []string{endpoint}})
}

// newLabOn is newLab in the etcd that cfg reaches.
func newLabOn(t *testing.T, cfg clientv3.Config) *lab {
	t.Helper()
	running := goleak.IgnoreCurrent()
	raw, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	labs++
	l := &lab{t: t, endpoint: cfg.Endpoints[0], prefix: fmt.Sprintf("/lab%d", labs), as: func(*etcdstore.Config) {}, raw: raw, stores: make(map[string]*etcdstore.Store), wires: make(map[string]*wire)}
	t.Cleanup(func() {
		for _, s := range l.stores {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		l.revokeAll()
		raw.Close()
		goleak.VerifyNone(t, running)
	})
	return l
}

// revokeAll ends what was left to lapse: in a later test it would be a revision that
// nobody there has made.
func (l *lab) revokeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := l.raw.Leases(ctx)
	if err != nil {
		l.t.Error(err)
		return
	}
	for _, lease := range found.Leases {
		_, _ = l.raw.Revoke(ctx, lease.ID) // or it has just lapsed
	}
}

func (l *lab) config() etcdstore.Config {
	cfg := etcdstore.Config{
		Endpoints: []string{l.endpoint}, Prefix: l.prefix, Plane: "p", TTL: 6 * time.Second,
		Logger: zaptest.NewLogger(l.t, zaptest.Level(zap.DebugLevel)),
	}
	l.as(&cfg)
	return cfg
}

func (l *lab) open(cfg etcdstore.Config) *etcdstore.Store {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	s, err := etcdstore.Open(ctx, cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// Node returns the store as one node reaches it, by a client of its own.
func (l *lab) Node(id string) driver.Store { return l.node(id) }

func (l *lab) node(id string) *etcdstore.Store {
	l.t.Helper()
	if l.stores[id] == nil {
		l.stores[id] = l.open(l.config())
	}
	return l.stores[id]
}

func (l *lab) key(rest string) string { return l.prefix + "/p/" + rest }

func (l *lab) ctx() context.Context {
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	l.t.Cleanup(cancel)
	return ctx
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) get(key string, opts ...clientv3.OpOption) *clientv3.GetResponse {
	l.t.Helper()
	resp, err := l.raw.Get(l.ctx(), key, opts...)
	l.must(err)
	return resp
}

func (l *lab) leaseOf(node string) clientv3.LeaseID {
	l.t.Helper()
	resp := l.get(l.key("nodes/" + node))
	if len(resp.Kvs) == 0 {
		l.t.Fatalf("no record of %s", node)
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}

func (l *lab) Revoke(node string) {
	l.t.Helper()
	_, err := l.raw.Revoke(l.ctx(), l.leaseOf(node))
	l.must(err)
}

func (l *lab) DeleteCandidate(node string) {
	l.t.Helper()
	lease := l.leaseOf(node)
	for _, kv := range l.get(l.key("election/"), clientv3.WithPrefix()).Kvs {
		if clientv3.LeaseID(kv.Lease) == lease {
			l.delete(string(kv.Key))
			return
		}
	}
	l.t.Fatalf("no election key of %s", node)
}

func (l *lab) delete(key string) {
	l.t.Helper()
	_, err := l.raw.Delete(l.ctx(), key)
	l.must(err)
}

func (l *lab) DeleteRecord(node string) { l.delete(l.key("nodes/" + node)) }

func (l *lab) Forge(node string, r driver.Record) {
	l.t.Helper()
	value, err := json.Marshal(r)
	l.must(err)
	lease, err := l.raw.Grant(l.ctx(), 60)
	l.must(err)
	_, err = l.raw.Put(l.ctx(), l.key("nodes/"+node), string(value), clientv3.WithLease(lease.ID))
	l.must(err)
}

func (l *lab) Stray(node string) {
	l.t.Helper()
	key := l.key("election/" + node)
	if found := l.get(l.key("nodes/" + node)).Kvs; len(found) == 1 {
		key = fmt.Sprintf("%s%x", l.key("election/"), found[0].Lease)
	}
	_, err := l.raw.Put(l.ctx(), key, node)
	l.must(err)
}

func (l *lab) EditTerm(number int64) {
	l.t.Helper()
	var h driver.Holder
	l.must(json.Unmarshal(l.get(l.key("term")).Kvs[0].Value, &h))
	h.Term = number
	text, err := json.Marshal(h)
	l.must(err)
	_, err = l.raw.Put(l.ctx(), l.key("term"), string(text))
	l.must(err)
}

func (l *lab) DeleteTerm() { l.delete(l.key("term")) }

func (l *lab) DeleteGuard() { l.delete(l.key("guard")) }

func (l *lab) DeleteMeta() { l.delete(l.key("meta")) }

func (l *lab) Garble(name rebind.Name) {
	l.t.Helper()
	_, err := l.raw.Put(l.ctx(), l.key("mementos/"+string(name)), "garbage")
	l.must(err)
}

func (l *lab) Compact() {
	l.t.Helper()
	_, err := l.raw.Compact(l.ctx(), l.get("x").Header.Revision)
	l.must(err)
}

// LoseAnswer has the node's next write applied and its answer lost.
func (l *lab) LoseAnswer(node string, meanwhile func()) {
	if l.wires[node] == nil {
		l.wires[node] = l.badWire(node)
	}
	l.wires[node].next(loseAnswer, meanwhile)
}

// Fill raises the alarm that etcd raises when it has no more room, or ends it.
func (l *lab) Fill(full bool) { l.alarm(pb.AlarmType_NOSPACE, full) }

// Corrupt raises the alarm that etcd raises when members' data differ, or ends it.
func (l *lab) Corrupt(corrupt bool) { l.alarm(pb.AlarmType_CORRUPT, corrupt) }

func (l *lab) alarm(which pb.AlarmType, raised bool) {
	l.t.Helper()
	action := pb.AlarmRequest_DEACTIVATE
	if raised {
		action = pb.AlarmRequest_ACTIVATE
	}
	status, err := l.raw.Status(l.ctx(), l.endpoint)
	l.must(err)
	// etcd's client can disarm an alarm and not raise one.
	_, err = pb.NewMaintenanceClient(l.raw.ActiveConnection()).Alarm(l.ctx(), &pb.AlarmRequest{
		Action: action, MemberID: status.Header.MemberId, Alarm: which,
	})
	l.must(err)
}

// eventually waits for a condition that comes about by itself.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := l.ctx(); !ok(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("still waiting: %s", what)
		}
	}
}

var prefixOption = clientv3.WithPrefix()

func TestContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storetest.Lab { return newLab(t) })
}
