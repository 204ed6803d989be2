package integration_test

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// Promise: against a node that is frozen a command ends in its time, and its exit
// code tells a write whose outcome is unknown from a read that had no answer.
func TestCommand_AgainstAFrozenNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, time.Minute)
	a := c.node("a", "auto")
	a.await("MASTER")
	a.mustPut("entity/x", "before")
	a.signal(syscall.SIGSTOP)
	for _, s := range []struct {
		args []string
		code int
	}{
		{[]string{"memento", "delete", "entity/x"}, 5},
		{[]string{"mode", "hot_backup"}, 5},
		{[]string{"memento", "get", "entity/x"}, 6},
		{[]string{"status"}, 6},
		{[]string{"health", "live"}, 6},
	} {
		began := time.Now()
		code, _, stderr := command(t, append(s.args, "--server", a.url, "--timeout", "1s")...)
		if code != s.code {
			t.Errorf("%v: exit code %d, want %d: %s", s.args, code, s.code, stderr)
		}
		if unknown := strings.Contains(stderr, "outcome unknown"); unknown != (s.code == 5) {
			t.Errorf("%v says %q", s.args, stderr)
		}
		if took := time.Since(began); took > time.Second+slack {
			t.Errorf("%v took %s with a time-out of 1s", s.args, took)
		}
	}
	a.signal(syscall.SIGCONT)
}
