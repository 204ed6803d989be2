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
	server, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}})
	if err != nil {
		server.Close()
		t.Fatal(err)
	}
	return coordtest.On(t, &backend{t: t, server: server, client: client, wires: make(map[string]*wire)})
}

// backend is an etcd and the connections that lead to it.
type backend struct {
	t      testing.TB
	server *embedded.Etcd
	client *clientv3.Client // the test's own
	wires  map[string]*wire // by connection
	stores []*etcdstore.Store
}

func (b *backend) Connect(connection string) driver.Store {
	w, err := startWire(b.server.Endpoint())
	if err != nil {
		b.t.Fatal(err)
	}
	b.wires[connection] = w
	ctx, cancel := b.ctx()
	defer cancel()
	s, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: []string{w.address()}, Prefix: prefix, Plane: plane, TTL: TTL, Logger: zap.NewNop()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.stores = append(b.stores, s)
	return s
}

func (b *backend) TTL() time.Duration { return TTL }

func (b *backend) Cut(connection string, cut bool) { b.wires[connection].cut(cut) }

func (b *backend) Expire(node string) {
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
func (b *backend) Fill(full bool) {
	ctx, cancel := b.ctx()
	defer cancel()
	action := pb.AlarmRequest_DEACTIVATE
	if full {
		action = pb.AlarmRequest_ACTIVATE
	}
	status, err := b.client.Status(ctx, b.server.Endpoint())
	b.must("ask for the status", err)
	// etcd's client can disarm an alarm and not raise one.
	_, err = pb.NewMaintenanceClient(b.client.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: action, MemberID: status.Header.MemberId, Alarm: pb.AlarmType_NOSPACE,
	})
	b.must("change the alarm", err)
}

func (b *backend) Compact() {
	ctx, cancel := b.ctx()
	defer cancel()
	now, err := b.client.Get(ctx, "x")
	b.must("read the revision", err)
	_, err = b.client.Compact(ctx, now.Header.Revision)
	b.must("compact", err)
}

func (b *backend) Close() {
	for _, s := range b.stores {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}
	b.client.Close()
	for _, w := range b.wires {
		w.close()
	}
	b.server.Close()
}

func (b *backend) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

func (b *backend) must(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}
