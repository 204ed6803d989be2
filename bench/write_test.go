package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// valueSize is that of etcd's own write benchmarks.
	valueSize = 256
	// slice is how long one side writes before the other does.
	slice = time.Second
)

// BenchmarkWrite compares single writes through the library, each fenced and
// answered when it can be read, with bare puts: writes per second.
func BenchmarkWrite(b *testing.B) {
	h := newHouse(b)
	master := h.node("a", modes.Auto)
	payload := make([]byte, valueSize)
	for _, writers := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var p pair
			for b.Loop() {
				p.bare = append(p.bare, rate(b, writers, slice, h.bareput(payload)))
				p.ours = append(p.ours, rate(b, writers, slice, func(ctx context.Context, key int) error {
					return commit(ctx, master, key, 1, payload)
				}))
			}
			p.report(b)
		})
	}
}

// BenchmarkDelta compares fenced deltas of a hundred operations, counted in
// operations, with bare puts, both by 128 writers.
func BenchmarkDelta(b *testing.B) {
	h := newHouse(b)
	master := h.node("a", modes.Auto)
	payload := make([]byte, valueSize)
	const writers, together = 128, 100
	var p pair
	for b.Loop() {
		p.bare = append(p.bare, rate(b, writers, slice, h.bareput(payload)))
		p.ours = append(p.ours, together*rate(b, writers, slice, func(ctx context.Context, key int) error {
			return commit(ctx, master, key, together, payload)
		}))
	}
	p.report(b)
}

// bareput writes as a program without us would.
func (h *house) bareput(payload []byte) func(ctx context.Context, key int) error {
	value := string(payload)
	return func(ctx context.Context, key int) error {
		_, err := h.bare.Put(ctx, fmt.Sprintf("/bare/entity/%d", key), value)
		return err
	}
}

// commit stores one delta of some operations that no other key has.
func commit(ctx context.Context, n *coordinator.Node, key, ops int, payload []byte) error {
	d := rebind.Delta{Ops: make([]rebind.Op, ops)}
	for i := range d.Ops {
		d.Ops[i] = rebind.Op{Name: rebind.Name(fmt.Sprintf("entity/%d-%d", key, i)), Put: &rebind.Content{Payload: payload}}
	}
	_, err := n.Commit(ctx, d)
	return err
}
