package integration_test

import (
	"testing"
	"time"
)

// Promise: a node that was started to delete all state deletes nothing of a plane that
// another one has come to lead, not even when mastership is handed to it.
func TestPersistClean_DeletesNothingOfALivingPlane(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	// Written by hand: a plane that nobody has led yet has nobody who would.
	if _, err := c.raw.Put(t.Context(), "/coordinator/p/pause", `{"since":"2026-01-01T00:00:00Z","by":"z"}`); err != nil {
		t.Fatal(err)
	}
	x := c.node("x", "auto", "--persist", "clean") // alone, and held up by the pause
	x.await("HOT_STANDBY")
	y := c.node("y", "auto")
	y.await("HOT_STANDBY")
	for _, args := range [][]string{{"mode", "master", "--server", y.url}, {"resume", "--server", y.url}} {
		if code, _, stderr := command(t, args...); code != 0 {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
	}
	y.await("MASTER")
	y.mustPut("entity/x", "acknowledged")
	_, _, _ = command(t, "handover", "--to", "x", "--server", y.url) // refused, or x declines
	if code := x.exit(maxWait); code != 3 {
		t.Errorf("x exits with %d, want 3\n%s", code, x.output())
	}
	eventually(t, maxWait, func() error { return y.reads("entity/x", "acknowledged") })
	for _, ev := range c.record().Events {
		if ev.Deleted && ev.Key == "mementos/entity/x" {
			t.Errorf("revision %d: the acknowledged memento was deleted", ev.Revision)
		}
	}
}
