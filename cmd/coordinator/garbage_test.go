package main

import (
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1 << 20: 100, 256 << 20: 100, 512 << 20: 50, 8 << 30: garbagePercentLarge,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes live: %d percent, want %d", live, got, want)
		}
	}
}

// Promise: a process with much live memory gathers less garbage, unless its operator has
// set the collector.
func TestBoundGarbage_SetsTheCollector(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "")
	much := make([]byte, 600<<20)
	debug.FreeOSMemory() // the live heap is measured by a collection
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { tuneGC(done) })
	percent := func() int {
		p := debug.SetGCPercent(77)
		if p != 77 {
			debug.SetGCPercent(p)
		}
		return p
	}
	for limit := time.Now().Add(10 * time.Second); percent() >= 50; <-time.After(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the collector is at %d percent", percent())
		}
	}
	close(done)
	group.Wait()
	t.Setenv("GOGC", "100")
	debug.SetGCPercent(100)
	tuneGC(nil) // returns at once
	if p := percent(); p != 100 {
		t.Errorf("the collector is at %d percent", p)
	}
	much[0] = 1
}
