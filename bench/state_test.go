package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// million is the number of mementos in the benchmarks of a large state. BENCH_MEMENTOS
// lowers it if time or memory is short.
func million(b *testing.B) int {
	b.Helper()
	text := os.Getenv("BENCH_MEMENTOS")
	if text == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("BENCH_MEMENTOS: %v", err)
	}
	return n
}

// store opens the plane as a node would.
func (h *lab) store() *etcdstore.Store {
	h.b.Helper()
	s, err := etcdstore.Open(h.b.Context(), etcdstore.Config{
		Endpoints: []string{h.etcd.Endpoint()}, Prefix: "/coordinator", Plane: "bench", TTL: 30 * time.Second,
	})
	if err != nil {
		h.b.Fatal(err)
	}
	h.onClose(func() { _ = s.Close() })
	return s
}

// mirror loads a mirror and returns how long that took. stop ends it.
func mirror(b *testing.B, s driver.Source) (m *replica.Mirror, took time.Duration, stop func()) {
	b.Helper()
	m = replica.NewMirror(s, rebind.Rules{}, zap.NewNop())
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- m.Run(ctx) }()
	<-m.Loaded()
	return m, time.Since(began), func() { cancel(); <-ended }
}

// bestPage is the page size at which a plain read is fastest, between 5,000 and 100,000.
const bestPage = 100_000

// BenchmarkLoad compares, in mementos per second, the load of a cold mirror, decoded and in
// order, with a paged range read of the same keys that discards them.
func BenchmarkLoad(b *testing.B) {
	h := newLab(b)
	n := million(b)
	h.fill(n, 512)
	s := h.store()
	var p pair
	for b.Loop() {
		p.bare = append(p.bare, float64(n)/h.readPages(bestPage).Seconds())
		m, took, stop := mirror(b, s)
		if m.View().Len() != n {
			b.Fatalf("%d mementos, want %d", m.View().Len(), n)
		}
		stop()
		p.ours = append(p.ours, float64(n)/took.Seconds())
		runtime.GC()
	}
	p.report(b)
}

// readPages reads the keys of all mementos with the given page size.
func (h *lab) readPages(page int64) time.Duration {
	h.b.Helper()
	began := time.Now()
	const prefix = "/coordinator/bench/mementos/"
	end := clientv3.GetPrefixRangeEnd(prefix)
	var revision int64
	for from := prefix; ; {
		resp, err := h.bare.Get(h.b.Context(), from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision))
		if err != nil {
			h.b.Fatal(err)
		}
		revision = resp.Header.Revision
		if !resp.More {
			return time.Since(began)
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// BenchmarkRead reads random mementos by id, with any number of parallel readers:
// nanoseconds and allocations of one read on one core.
func BenchmarkRead(b *testing.B) {
	h := newLab(b)
	n := million(b)
	h.fill(n, 64)
	m, _, stop := mirror(b, h.store())
	defer stop()
	names := make([]rebind.Name, 1<<16)
	for i := range names {
		names[i] = rebind.Name(fmt.Sprintf("filler/%08d", rand.IntN(n)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := m.View().Get(names[i%len(names)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory measures the live heap of a mirror relative to the size of its keys and
// payloads.
func BenchmarkMemory(b *testing.B) {
	const size = 1024
	h := newLab(b)
	n := million(b)
	h.fill(n, size)
	var p pair
	for b.Loop() {
		before := heap()
		m, _, stop := mirror(b, h.store())
		p.ours = append(p.ours, float64(heap()-before))
		p.bare = append(p.bare, float64(n*(size+len("filler/00000000"))))
		runtime.KeepAlive(m)
		stop()
	}
	p.report(b)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
