// Package etcdtest runs a plane of package coordtest on a real etcd within the process of
// the test. It is separate from coordtest, so that other tests need not compile the server
// of etcd. Time is real: do not use it in a bubble of package testing/synctest.
package etcdtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
)

const (
	// TTL is that of the leases in a plane that New makes.
	TTL = 3 * time.Second
	// limit limits each call that the test itself makes to etcd.
	limit = 10 * time.Second

	prefix, plane = "/coordtest", "p"
)

// New starts an etcd and returns an empty plane in it. Each node reaches the etcd over a
// connection that the test can cut. The plane is that of coordtest.Config.Plane "p", the
// default. What cannot be done is a restore, and to lose the answer of the transaction that
// begins a term.
func New(t testing.TB) *coordtest.Plane {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}})
	if err != nil {
		etcd.Close()
		t.Fatal(err)
	}
	return coordtest.On(t, &server{t: t, etcd: etcd, client: client, wires: make(map[string]*wire)})
}

// server is an etcd and the connections that lead to it.
type server struct {
	t      testing.TB
	etcd   *embedded.Etcd
	client *clientv3.Client // the test's own
	wires  map[string]*wire // by connection, the latest
	all    []*wire
	stores []*etcdstore.Store
}

// Connect opens a store on a connection of its own.
func (b *server) Connect(connection string) driver.Store {
	w, err := startWire(b.etcd.Endpoint())
	if err != nil {
		b.t.Fatal(err)
	}
	b.wires[connection] = w
	b.all = append(b.all, w)
	ctx, cancel := b.ctx()
	defer cancel()
	s, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: []string{w.address()}, Prefix: prefix, Plane: plane, TTL: TTL, Logger: zap.NewNop()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.stores = append(b.stores, s)
	return s
}

// TTL is that of the leases.
func (b *server) TTL() time.Duration { return TTL }

// Cut cuts a connection or heals it.
func (b *server) Cut(connection string, cut bool) { b.wires[connection].cut(cut) }

// Expire revokes the lease of a node.
func (b *server) Expire(node string) {
	ctx, cancel := b.ctx()
	defer cancel()
	found, err := b.client.Get(ctx, fmt.Sprintf("%s/%s/nodes/%s", prefix, plane, node))
	switch {
	case err != nil:
	case len(found.Kvs) == 0:
		err = fmt.Errorf("%s has no record", node)
	default:
		_, err = b.client.Revoke(ctx, clientv3.LeaseID(found.Kvs[0].Lease))
	}
	b.must("end the lease", err)
}

// Fill raises the alarm that etcd raises when it has no more room, or ends it.
func (b *server) Fill(full bool) {
	ctx, cancel := b.ctx()
	defer cancel()
	action := pb.AlarmRequest_DEACTIVATE
	if full {
		action = pb.AlarmRequest_ACTIVATE
	}
	status, err := b.client.Status(ctx, b.etcd.Endpoint())
	b.must("ask for the status", err)
	// etcd's client can disarm an alarm and not raise one.
	_, err = pb.NewMaintenanceClient(b.client.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: action, MemberID: status.Header.MemberId, Alarm: pb.AlarmType_NOSPACE,
	})
	b.must("change the alarm", err)
}

// Compact compacts at the present revision.
func (b *server) Compact() {
	ctx, cancel := b.ctx()
	defer cancel()
	now, err := b.client.Get(ctx, "x")
	b.must("read the revision", err)
	_, err = b.client.Compact(ctx, now.Header.Revision)
	b.must("compact", err)
}

// Close closes all stores, the connections and the etcd.
func (b *server) Close() {
	for _, s := range b.stores {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}
	b.client.Close()
	for _, w := range b.all {
		w.close()
	}
	b.etcd.Close()
}

func (b *server) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

func (b *server) must(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}
