package bench

import (
	"context"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/modes"
)

// house is an etcd of one member in this process, with its disk syncs on, and what
// is measured on it: the bare client beside nodes of ours.
type house struct {
	b    testing.TB
	etcd *embedded.Etcd
	bare *clientv3.Client
}

func newHouse(b testing.TB) *house {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), embedded.ReadyTimeout)
	defer cancel()
	// Not b.TempDir, which may be in memory: the disk is part of what is measured.
	dir, err := os.MkdirTemp(os.Getenv("BENCH_DIR"), "coordinator-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	h := &house{b: b, etcd: etcd, bare: nil}
	b.Cleanup(func() { _ = etcd.Close() })
	h.bare = h.client()
	return h
}

// client is a bare client of etcd's, as a program would make it.
func (h *house) client() *clientv3.Client {
	h.b.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{h.etcd.Endpoint()}})
	if err != nil {
		h.b.Fatal(err)
	}
	h.b.Cleanup(func() { _ = c.Close() })
	if _, err := c.Get(h.b.Context(), "x"); err != nil {
		h.b.Fatal(err)
	}
	return c
}

// node runs a node until the benchmark ends, and returns it in the state it rests in.
func (h *house) node(id string, mode modes.Mode) *coordinator.Node {
	h.b.Helper()
	store, err := etcdstore.Open(h.b.Context(), etcdstore.Config{
		Endpoints: []string{h.etcd.Endpoint()}, Prefix: "/coordinator", Plane: "bench", TTL: 30 * time.Second,
	})
	if err != nil {
		h.b.Fatal(err)
	}
	n, err := coordinator.New(coordinator.Config{ID: id, Plane: "bench", URI: "http://" + id, Version: "1.0.0", Mode: mode}, store)
	if err != nil {
		h.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	h.b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.b.Errorf("%s: %v", id, err)
		}
		_ = store.Close()
	})
	limit := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n.Status().State == modes.StateInitializing || (mode == modes.Auto && n.Status().State != modes.StateMaster) {
		select {
		case <-tick.C:
		case <-limit:
			h.b.Fatalf("%s is still %s", id, n.Status().State)
		}
	}
	return n
}
