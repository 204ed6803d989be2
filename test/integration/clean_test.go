package integration_test

import (
	"syscall"
	"testing"
	"time"
)

// Promise: a node that was started to delete all state deletes nothing of a plane that
// another one has come to lead, not even when mastership is handed to it.
func TestPersistClean_DeletesNothingOfALivingPlane(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	first := c.node("z", "hot_backup")
	first.await("HOT_BACKUP")
	if code, _, stderr := command(t, "pause", "--server", first.url); code != 0 {
		t.Fatalf("pause: %d %s", code, stderr)
	}
	first.signal(syscall.SIGTERM)
	if code := first.exit(patience); code != 0 {
		t.Fatalf("z exits with %d", code)
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
	if code := x.exit(patience); code != 3 {
		t.Errorf("x exits with %d, want 3\n%s", code, x.output())
	}
	eventually(t, patience, func() error { return y.reads("entity/x", "acknowledged") })
	for _, ev := range c.record().Events {
		if ev.Deleted && ev.Key == "mementos/entity/x" {
			t.Errorf("revision %d: the acknowledged memento was deleted", ev.Revision)
		}
	}
}
