package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
)

// couple is a master and a hot standby that hand mastership back and forth.
type couple struct {
	nodes  [2]*coordinator.Node
	master int
}

func (h *lab) couple() *couple {
	return &couple{nodes: [2]*coordinator.Node{h.node("a", modes.Auto), h.node("b", modes.HotStandby)}}
}

// swap hands over to the other node, once that has been in the queue for long enough.
func (c *couple) swap(b testing.TB) coordinator.HandoverResult {
	b.Helper()
	other := c.nodes[1-c.master]
	for !other.Status().InElection {
		<-time.After(time.Millisecond)
	}
	<-time.After(queued)
	passed, err := c.nodes[c.master].Handover(b.Context(), other.Status().ID)
	if err != nil {
		b.Fatal(err)
	}
	c.master = 1 - c.master
	return passed
}

// queued is how long a node waits in the queue before it is handed over to: etcd takes up
// to a tenth of a second until a watch that began in the past is prompt.
const queued = 150 * time.Millisecond

// swaps is how many handovers make one round.
const swaps = 20

// BenchmarkPromotion compares, in milliseconds, a handover to a hot node with a thousand
// mementos, in the place of plain etcd, with one to a node with a million.
func BenchmarkPromotion(b *testing.B) {
	few, many := newLab(b), newLab(b)
	few.fill(1000, 256)
	many.fill(million(b), 256)
	small, large := few.couple(), many.couple()
	measure := func(c *couple) float64 {
		var ms []float64
		for range swaps {
			ms = append(ms, float64(c.swap(b).Duration.Microseconds())/1000)
		}
		return median(ms)
	}
	var p pair
	for b.Loop() {
		p.bare = append(p.bare, measure(small))
		p.ours = append(p.ours, measure(large))
	}
	p.report(b)
}

// BenchmarkHandover measures the time from the last write acknowledged by the old master to
// the first by the new one, with 100,000 mementos and four writers, and compares it with
// the time from a plain Resign until the other candidate's Campaign returns, in
// milliseconds.
func BenchmarkHandover(b *testing.B) {
	h := newLab(b)
	h.fill(100_000, valueSize)
	c := h.couple()
	w := startWriters(b, c, 4)
	defer w.stop()
	var p pair
	var gaps []float64
	for b.Loop() {
		var bare, ours []float64
		for range swaps {
			bare = append(bare, h.resignToCampaign())
			old := c.master
			c.swap(b)
			ours = append(ours, w.gap(old))
		}
		p.bare, p.ours = append(p.bare, median(bare)), append(p.ours, median(ours))
		gaps = append(gaps, ours...)
	}
	p.report(b)
	b.ReportMetric(quantile(gaps, 0.99), "p99-ms")
}

// resignToCampaign is a change of leader with etcd's own election.
func (h *lab) resignToCampaign() float64 {
	h.b.Helper()
	ctx := h.b.Context()
	var elections [2]*concurrency.Election
	for i := range elections {
		session, err := concurrency.NewSession(h.bare)
		if err != nil {
			h.b.Fatal(err)
		}
		defer session.Close()
		elections[i] = concurrency.NewElection(session, "/bare/election")
	}
	if err := elections[0].Campaign(ctx, "0"); err != nil {
		h.b.Fatal(err)
	}
	won := make(chan error, 1)
	go func() { won <- elections[1].Campaign(ctx, "1") }()
	for {
		resp, err := h.bare.Get(ctx, "/bare/election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			h.b.Fatal(err)
		}
		if resp.Count == 2 {
			break
		}
	}
	<-time.After(queued)
	began := time.Now()
	if err := elections[0].Resign(ctx); err != nil {
		h.b.Fatal(err)
	}
	if err := <-won; err != nil {
		h.b.Fatal(err)
	}
	took := time.Since(began)
	if err := elections[1].Resign(ctx); err != nil {
		h.b.Fatal(err)
	}
	return float64(took.Microseconds()) / 1000
}

// writers write to the current master, and record who acknowledged what and when.
type writers struct {
	stop func()

	mu    sync.Mutex
	acked [2][]time.Time // by the node that acknowledged
}

func startWriters(b testing.TB, c *couple, n int) *writers {
	ctx, cancel := context.WithCancel(b.Context())
	w := new(writers)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for at := 0; ctx.Err() == nil; {
				err := commit(ctx, c.nodes[at], i, 1, make([]byte, valueSize))
				switch {
				case err == nil:
					w.mu.Lock()
					w.acked[at] = append(w.acked[at], time.Now())
					w.mu.Unlock()
				case errors.Is(err, coordinator.ErrNotMaster):
					at = 1 - at
					<-time.After(100 * time.Microsecond) // leave a processor to the nodes
				case ctx.Err() == nil:
					b.Error(fmt.Errorf("write at node %d: %w", at, err))
					return
				}
			}
		})
	}
	w.stop = func() { cancel(); group.Wait() }
	return w
}

// gap is the time in milliseconds from the last write acknowledged by the old master to the
// first by the new one.
func (w *writers) gap(old int) float64 {
	for {
		w.mu.Lock()
		before, after := w.acked[old], w.acked[1-old]
		if len(before) > 0 && len(after) > 0 && after[len(after)-1].After(before[len(before)-1]) {
			last := before[len(before)-1]
			i := len(after) - 1
			for i > 0 && after[i-1].After(last) {
				i--
			}
			w.acked = [2][]time.Time{}
			w.mu.Unlock()
			return float64(after[i].Sub(last).Microseconds()) / 1000
		}
		w.mu.Unlock()
		<-time.After(time.Millisecond)
	}
}

// BenchmarkLag compares how soon after it was sent a write is seen by a hot node's mirror
// and by a plain watch, at a thousand writes per second: the 99th percentile in
// milliseconds.
func BenchmarkLag(b *testing.B) {
	h := newLab(b)
	backup := h.node("c", modes.HotBackup)
	var p pair
	for b.Loop() {
		bare, ours := h.lag(backup)
		p.bare, p.ours = append(p.bare, bare), append(p.ours, ours)
	}
	p.report(b)
	b.ReportMetric(median(p.ours)-median(p.bare), "beyond-ms")
}

// lag sends writes at an even rate and follows them both ways.
func (h *lab) lag(backup *coordinator.Node) (bare, ours float64) {
	h.b.Helper()
	const writes, every = 3000, time.Millisecond
	reading, err := backup.Read()
	if err != nil {
		h.b.Fatal(err)
	}
	from := reading.View.Revision()
	seen := [2]map[int64]time.Time{{}, {}}
	var following sync.WaitGroup
	ctx := clientv3.WithRequireLeader(h.b.Context())
	watch := h.bare.Watch(ctx, "/coordinator/bench/mementos/", clientv3.WithPrefix(), clientv3.WithRev(int64(from)+1))
	following.Go(func() {
		for len(seen[0]) < writes {
			for _, ev := range (<-watch).Events {
				seen[0][ev.Kv.ModRevision] = time.Now()
			}
		}
	})
	following.Go(func() {
		for at := from; len(seen[1]) < writes; {
			steps, to, err := backup.Steps(ctx, at)
			if err != nil {
				h.b.Error(err)
				return
			}
			for _, s := range steps {
				seen[1][int64(s.Revision)] = time.Now()
			}
			at = to
		}
	})
	sent := h.send(writes, every)
	following.Wait()
	var took [2][]float64
	for revision, at := range sent {
		for i := range took {
			took[i] = append(took[i], float64(seen[i][revision].Sub(at).Microseconds())/1000)
		}
	}
	return quantile(took[0], 0.99), quantile(took[1], 0.99)
}

// send puts mementos at an even rate and returns when each revision was sent.
func (h *lab) send(writes int, every time.Duration) map[int64]time.Time {
	sent := make(map[int64]time.Time)
	var mu sync.Mutex
	var flying sync.WaitGroup
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range writes {
		<-tick.C
		flying.Go(func() {
			at := time.Now()
			resp, err := h.bare.Put(h.b.Context(), fmt.Sprintf("/coordinator/bench/mementos/lag/%d", i), "memento/1 node=bench term=1 op=LAG\nx")
			if err != nil {
				h.b.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sent[resp.Header.Revision] = at
		})
	}
	flying.Wait()
	return sent
}
