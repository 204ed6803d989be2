package main

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbageFree is how much garbage a process may always gather: less of it makes the
	// collector run often for little.
	garbageFree = 256 << 20
	// garbageShare is how much it may gather, in percent of what lives, where that is
	// more. Nearly all of a large mirror lives long, and is 1.3 times what it copies:
	// this keeps what is resident below twice that, for some hundredths of a processor.
	garbageShare = 30
	// garbageEvery is how often the heap is looked at.
	garbageEvery = 250 * time.Millisecond
)

// boundGarbage sets the collector by the size of the live heap until done is closed.
// By its own rule it lets a process gather as much garbage as it has live memory, which
// would double what a mirror takes. An operator's GOGC stays as it is.
func boundGarbage(done <-chan struct{}) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(garbageEvery)
	defer tick.Stop()
	for set := 100; ; {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		metrics.Read(sample)
		if want := garbagePercent(sample[0].Value.Uint64()); want != set {
			debug.SetGCPercent(want)
			set = want
		}
	}
}

// garbagePercent is the setting of the collector for so much live memory.
func garbagePercent(live uint64) int {
	free := 100 * garbageFree / math.Max(float64(live), 1)
	return int(min(100, max(garbageShare, free)))
}
