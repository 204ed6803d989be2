package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// valueSize is the value size of etcd's own write benchmarks.
	valueSize = 256
	// slice is how long one side writes before the other does.
	slice = time.Second
)

// BenchmarkWrite compares, in writes per second, single writes through the library, each
// fenced and answered once it can be read, with plain puts.
func BenchmarkWrite(b *testing.B) {
	h := newLab(b)
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

// BenchmarkDelta compares fenced deltas of a hundred operations, counted in operations,
// with plain puts, both by 128 writers.
func BenchmarkDelta(b *testing.B) {
	h := newLab(b)
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

// BenchmarkFence measures what the fence costs without the library: a plain client puts
// with the comparisons of a single write, to a key that is watched, and with a plain put,
// in writes per second. This is the most that one writer can reach with the library.
func BenchmarkFence(b *testing.B) {
	h := newLab(b)
	payload := make([]byte, valueSize)
	fenced := h.fencedput(payload)
	var p pair
	for b.Loop() {
		p.bare = append(p.bare, rate(b, 1, slice, h.bareput(payload)))
		p.ours = append(p.ours, rate(b, 1, slice, fenced))
	}
	p.report(b)
}

// fencedput is bareput with comparisons like those of a fenced write, for one writer.
func (h *lab) fencedput(payload []byte) func(ctx context.Context, key int) error {
	h.b.Helper()
	compares := make([]clientv3.Cmp, 2)
	for i, key := range []string{"/fence/term", "/fence/election"} {
		resp, err := h.bare.Put(h.b.Context(), key, "x")
		if err != nil {
			h.b.Fatal(err)
		}
		compares[i] = clientv3.Compare(clientv3.ModRevision(key), "=", resp.Header.Revision)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	events := h.client().Watch(ctx, "/fence/", clientv3.WithPrefix())
	watching.Go(func() {
		for range events {
		}
	})
	h.onClose(func() { cancel(); watching.Wait() })
	value, revisions := string(payload), make([]int64, keys)
	return func(ctx context.Context, key int) error {
		name := fmt.Sprintf("/fence/entity/%d", key)
		resp, err := h.bare.Txn(ctx).
			If(append(slices.Clip(compares), clientv3.Compare(clientv3.ModRevision(name), "=", revisions[key]))...).
			Then(clientv3.OpPut(name, value)).
			Commit()
		switch {
		case err != nil:
			return err
		case !resp.Succeeded:
			return errors.New("fenced put was refused")
		}
		revisions[key] = resp.Header.Revision
		return nil
	}
}

// bareput writes as a program without the library would.
func (h *lab) bareput(payload []byte) func(ctx context.Context, key int) error {
	value := string(payload)
	return func(ctx context.Context, key int) error {
		_, err := h.bare.Put(ctx, fmt.Sprintf("/bare/entity/%d", key), value)
		return err
	}
}

// commit stores one delta of some operations on keys of its own.
func commit(ctx context.Context, n *coordinator.Node, key, ops int, payload []byte) error {
	d := rebind.Delta{Ops: make([]rebind.Op, ops)}
	for i := range d.Ops {
		d.Ops[i] = rebind.Op{Name: rebind.Name(fmt.Sprintf("entity/%d-%d", key, i)), Put: &rebind.Content{Payload: payload}}
	}
	_, err := n.Commit(ctx, d)
	return err
}
