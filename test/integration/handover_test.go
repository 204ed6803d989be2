package integration_test

import (
	"testing"
	"time"
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
	account := w.stop()
	t.Logf("%d acknowledged, %d unknown, %d refused", len(account.acked), account.unknown, len(account.refused))
	if n := len(account.refused); n != 0 {
		t.Errorf("%d writes were refused, want all to wait", n)
	}
	found := c.record().judge(t)
	account.holds(t, found)
	if len(found.terms) != 11 {
		t.Errorf("%d terms, want 11", len(found.terms))
	}
}
