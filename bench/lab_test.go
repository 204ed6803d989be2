package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/modes"
)

// pair collects measurements of plain etcd and of the library, taken in turn, so that both
// see the machine under the same conditions.
type pair struct{ bare, ours []float64 }

// report reports the medians, and the library's over plain etcd's.
func (p *pair) report(b *testing.B) {
	bare, ours := median(p.bare), median(p.ours)
	b.ReportMetric(bare, "bare")
	b.ReportMetric(ours, "ours")
	b.ReportMetric(ours/bare, "ratio")
	b.ReportMetric(0, "ns/op") // the time of a round means nothing
}

func median(all []float64) float64 { return quantile(all, 0.5) }

// quantile is the value below which the given part of all values lies.
func quantile(all []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// rate runs n writers for a while and returns the writes per second.
func rate(b *testing.B, n int, lasting time.Duration, write func(ctx context.Context, key int) error) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), lasting)
	defer cancel()
	var done, next atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range n {
		group.Go(func() {
			for ctx.Err() == nil {
				err := write(b.Context(), int(next.Add(1))%keys)
				if err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// keys is how many different keys are written: more than there are writers.
const keys = 4096

// fill puts n mementos of one size into the plane, in its own format but faster than the
// plane would.
func (h *lab) fill(n, size int) {
	h.b.Helper()
	value := fmt.Sprintf("memento/1 node=bench term=1 op=FILL type=application/octet-stream\n%s", make([]byte, size))
	const together = 120
	var group sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		group.Go(func() {
			for {
				from := int(next.Add(together)) - together
				if from >= n {
					return
				}
				var ops []clientv3.Op
				for i := from; i < min(from+together, n); i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("/coordinator/bench/mementos/filler/%08d", i), value))
				}
				if _, err := h.bare.Txn(h.b.Context()).Then(ops...).Commit(); err != nil {
					h.b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// lab is a one-member etcd in this process, with disk syncs on, and what is measured on
// it: a plain client and nodes.
type lab struct {
	b      testing.TB
	etcd   *embedded.Etcd
	bare   *clientv3.Client
	opened []func()
}

// onClose registers f to be called when the etcd is closed, in reverse order.
func (h *lab) onClose(f func()) { h.opened = append(h.opened, f) }

// close stops everything; the end of the benchmark does so too.
func (h *lab) close() {
	for _, f := range slices.Backward(h.opened) {
		f()
	}
	h.opened = nil
}

func newLab(b testing.TB) *lab {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), embedded.ReadyTimeout)
	defer cancel()
	// Not b.TempDir, which may be in memory: the disk is part of the measurement.
	dir, err := os.MkdirTemp(os.Getenv("BENCH_DIR"), "coordinator-bench-")
	if err != nil {
		b.Fatal(err)
	}
	h := &lab{b: b}
	b.Cleanup(h.close)
	h.onClose(func() { _ = os.RemoveAll(dir) })
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	h.etcd = etcd
	h.onClose(func() { _ = etcd.Close() })
	h.bare = h.client()
	return h
}

// client is a plain etcd client as a program would create it.
func (h *lab) client() *clientv3.Client {
	h.b.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{h.etcd.Endpoint()}})
	if err != nil {
		h.b.Fatal(err)
	}
	h.onClose(func() { _ = c.Close() })
	if _, err := c.Get(h.b.Context(), "x"); err != nil {
		h.b.Fatal(err)
	}
	return c
}

// node runs a node until the benchmark ends, and returns it once it has reached its state
// of rest.
func (h *lab) node(id string, mode modes.Mode) *coordinator.Node {
	h.b.Helper()
	store := h.store()
	n, err := coordinator.New(coordinator.Config{ID: id, Plane: "bench", URI: "http://" + id, Version: "1.0.0", Mode: mode}, store)
	if err != nil {
		h.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	h.onClose(func() {
		cancel()
		if err := <-done; err != nil {
			h.b.Errorf("%s: %v", id, err)
		}
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
