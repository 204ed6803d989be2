package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// valueSize is that of etcd's own write benchmarks.
const valueSize = 256

// BenchmarkWrite compares single writes through the library, each fenced and
// answered when it can be read, with bare puts.
func BenchmarkWrite(b *testing.B) {
	h := newHouse(b)
	master := h.node("a", modes.Auto)
	payload := make([]byte, valueSize)
	for _, writers := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprintf("writers=%d/bare", writers), func(b *testing.B) {
			spread(b, writers, func(ctx context.Context, key int) error {
				_, err := h.bare.Put(ctx, fmt.Sprintf("/bare/entity/%d", key), string(payload))
				return err
			})
		})
		b.Run(fmt.Sprintf("writers=%d/ours", writers), func(b *testing.B) {
			spread(b, writers, func(ctx context.Context, key int) error {
				return put(ctx, master, key, payload)
			})
		})
	}
}

func put(ctx context.Context, n *coordinator.Node, key int, payload []byte) error {
	name := rebind.Name(fmt.Sprintf("entity/%d", key))
	_, err := n.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: name, Put: &rebind.Content{Payload: payload}}}})
	return err
}

// spread has n writers share b.N writes, over more keys than writers.
func spread(b *testing.B, n int, write func(ctx context.Context, key int) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range n {
		group.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := write(b.Context(), int(i)%(4*1024)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}
