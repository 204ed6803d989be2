// How the garbage collector is tuned to a large live heap.

package main

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// minGarbage is how much garbage a process may always gather: with less, the collector
	// would run often for little gain.
	minGarbage = 256 << 20
	// garbagePercentLarge is how much garbage may gather, in percent of the live heap,
	// where that is more than minGarbage. Nearly all of a large mirror is long-lived and
	// takes 1.3 times the size of its mementos: this setting keeps resident memory below
	// twice that, for a few hundredths of a processor.
	garbagePercentLarge = 30
	// checkHeapEvery is how often the live heap is measured.
	checkHeapEvery = 250 * time.Millisecond
)

// tuneGC adjusts the collector to the size of the live heap until done is closed. By
// default a process gathers as much garbage as it has live memory, which would double what
// a mirror takes. An operator's GOGC stays in force.
func tuneGC(done <-chan struct{}) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(checkHeapEvery)
	defer tick.Stop()
	for set := 100; ; {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		metrics.Read(sample)
		if want := gcPercent(sample[0].Value.Uint64()); want != set {
			debug.SetGCPercent(want)
			set = want
		}
	}
}

// gcPercent is the collector's setting for that much live memory.
func gcPercent(live uint64) int {
	free := 100 * minGarbage / math.Max(float64(live), 1)
	return int(min(100, max(garbagePercentLarge, free)))
}
