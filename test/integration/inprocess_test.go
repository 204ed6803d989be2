package integration_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// house is an embedded etcd with nodes in this process: for what needs many nodes
// or a hand in their configuration.
type house struct {
	t    *testing.T
	etcd *embedded.Etcd
	raw  *clientv3.Client
	stop []func()
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), ClientURL: "http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Get(ctx, "x"); err != nil { // etcd starts some things with its first client
		t.Fatal(err)
	}
	running := goleak.IgnoreCurrent()
	h := &house{t: t, etcd: etcd, raw: raw}
	t.Cleanup(func() {
		var group sync.WaitGroup
		for _, stop := range h.stop {
			group.Go(stop)
		}
		group.Wait()
		goleak.VerifyNone(t, running)
		raw.Close()
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// node runs a node that is stopped cleanly with the test.
func (h *house) node(id string, mode modes.Mode, change ...func(*coordinator.Config)) *coordinator.Node {
	h.t.Helper()
	store, err := etcdstore.Open(h.t.Context(), etcdstore.Config{
		Endpoints: []string{h.etcd.Endpoint()}, Prefix: "/coordinator", Plane: "p", TTL: 6 * time.Second,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := coordinator.Config{ID: id, Plane: "p", URI: "http://" + id, Version: "1.0.0", Mode: mode}
	for _, c := range change {
		c(&cfg)
	}
	n, err := coordinator.New(cfg, store)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	h.stop = append(h.stop, func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("%s: %v", id, err)
		}
		if err := store.Close(); err != nil {
			h.t.Errorf("%s: %v", id, err)
		}
	})
	return n
}

func (h *house) await(n *coordinator.Node, state modes.State) {
	h.t.Helper()
	eventually(h.t, maxWait, func() error {
		if s := n.Status(); s.State != state {
			return fmt.Errorf("%s is %s, not %s", s.ID, s.State, state)
		}
		return nil
	})
}

// Promise: twenty nodes that start at once give exactly one master, and the others
// settle.
func TestElection_TwentyNodesInOneProcess(t *testing.T) {
	h := newHouse(t)
	nodes := make([]*coordinator.Node, 20)
	for i := range nodes {
		nodes[i] = h.node(fmt.Sprintf("n%02d", i), modes.Auto, func(c *coordinator.Config) { c.Priority = i })
	}
	eventually(t, maxWait, func() error {
		counts := make(map[modes.State]int)
		for _, n := range nodes {
			counts[n.Status().State]++
		}
		if counts[modes.StateMaster] != 1 || counts[modes.StateHotStandby] != len(nodes)-1 {
			return fmt.Errorf("states %v", counts)
		}
		return nil
	})
	resp, err := h.raw.Get(t.Context(), "/coordinator/p/term")
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Version != 1 {
		t.Errorf("term record %v, %v, want one term", resp, err)
	}
}

// Promise: a vacancy goes to the candidate of the highest rank, whoever waited
// first in etcd's queue.
func TestElection_HighestRankedCandidateLeads(t *testing.T) {
	h := newHouse(t)
	a := h.node("a", modes.Auto)
	h.await(a, modes.StateMaster)
	ranked := func(priority int, version string) func(*coordinator.Config) {
		return func(c *coordinator.Config) { c.Priority, c.Version = priority, version }
	}
	h.await(h.node("low", modes.HotStandby, ranked(-1, "9.0.0")), modes.StateHotStandby)
	h.await(h.node("cold", modes.Standby, ranked(0, "1.0.0")), modes.StateStandby)
	h.await(h.node("old", modes.HotStandby, ranked(0, "0.9.0")), modes.StateHotStandby)
	best := h.node("best", modes.HotStandby, ranked(0, "1.0.0"))
	h.await(best, modes.StateHotStandby)
	eventually(t, maxWait, func() error {
		p, err := a.Plane(t.Context())
		if c := policy.Candidates(p); err != nil || len(c) != 4 || c[0].ID != "best" {
			return fmt.Errorf("candidates %v, %w", c, err)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	if _, err := a.ChangeMode(ctx, modes.HotBackup); err != nil {
		t.Fatal(err)
	}
	h.await(best, modes.StateMaster)
}
