package replica_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// allocated is how many bytes do allocates, by the process's own count.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Promise: what a change of a memento in quarantine costs does not grow with how many
// there are, nor does naming the first of them; views of before keep what they had.
func TestView_CostsTheSameHoweverManyAreInQuarantine(t *testing.T) {
	const many, changes = 100_000, 50
	costs := make(map[int]uint64)
	for _, n := range []int{changes, many} {
		server := memstore.New(ttl)
		t.Cleanup(server.Close)
		for i := range n {
			server.Put(rebind.Name(fmt.Sprintf("bad/%06d", i)), rebind.Content{}, "not readable")
		}
		m := replica.NewMirror(server.Node("a"), rebind.Rules{}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = m.Run(ctx) }) // the cause is the cancel below
		<-m.Loaded()
		before := m.View()
		costs[n] = allocated(func() {
			for i := range changes {
				name := rebind.Name(fmt.Sprintf("bad/%06d", i))
				if i%2 == 0 {
					server.Put(name, rebind.Content{}, "worse")
				} else {
					server.Put(name, rebind.Content{}, "") // repaired
				}
				if err := m.Reach(ctx, server.Revision()); err != nil {
					t.Fatal(err)
				}
				if first := m.View().FirstFaults(); len(first) != min(m.View().FaultCount(), 100) {
					t.Fatalf("%d are named, of %d", len(first), m.View().FaultCount())
				}
			}
		})
		after := m.View()
		if before.FaultCount() != n || after.FaultCount() != n-changes/2 || len(before.Faults()) != n || before.Faults()[0].Fault != "not readable" || after.Faults()[0].Fault != "worse" {
			t.Errorf("%d in quarantine before and %d after, the first %v and %v", before.FaultCount(), after.FaultCount(), before.Faults()[0], after.Faults()[0])
		}
		cancel()
		running.Wait()
	}
	t.Logf("bytes for %d changes: %v", changes, costs)
	if costs[many] > 4*costs[changes] {
		t.Errorf("%d changes among %d in quarantine allocate %d bytes, among %d %d bytes", changes, many, costs[many], changes, costs[changes])
	}
}
