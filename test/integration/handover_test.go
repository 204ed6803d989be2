package integration_test

import (
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Promise: while mastership is handed over writes wait and none is refused, through
// nodes that forward as well.
func TestHandover_RefusesNoWrite(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	backup, cold := c.node("c", "hot_backup"), c.node("d", "standby")
	b.await("HOT_STANDBY")
	backup.await("HOT_BACKUP")
	cold.await("STANDBY")
	w := startWriters(t, 4, backup, cold)
	for i := range 10 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		w.more(t, 40)
		if code, _, stderr := command(t, "handover", "--to", to.name, "--server", from.url); code != 0 {
			t.Fatalf("handover %d: exit code %d: %s", i, code, stderr)
		}
		from.await("HOT_STANDBY")
	}
	w.more(t, 40)
	told := w.stop()
	found := c.judge(told...)
	if n := found.Operations[evidence.Refused]; n != 0 {
		t.Errorf("%d writes were refused, want all to wait", n)
	}
	if len(found.Terms) != 11 {
		t.Errorf("%d terms, want 11", len(found.Terms))
	}
}
