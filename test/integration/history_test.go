package integration_test

import (
	"context"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// record reads everything that ever happened under the plane's keys.
func (c *cluster) record() *evidence.Run {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), maxWait)
	defer cancel()
	run := &evidence.Run{Layer: "process", TTL: c.ttl}
	history := evidence.Observe(ctx, c.raw, "/coordinator/"+c.plane+"/")
	if err := history.Finish(ctx, c.raw, run); err != nil {
		c.t.Fatal(err)
	}
	return run
}

// judge judges the plane's history, and what clients were told, and fails the test for
// each rule that was broken.
func (c *cluster) judge(told ...evidence.Op) judge.Verdict {
	c.t.Helper()
	return judged(c.t, c.account(told))
}

// account is the plane's history with what clients were told. It waits for what was
// under way when they stopped, and may still be written.
func (c *cluster) account(told []evidence.Op) *evidence.Run {
	c.t.Helper()
	if len(told) > 0 {
		c.quiet()
	}
	run := c.record()
	run.Ops = told
	return run
}

// judged fails the test for what was broken in a run.
func judged(t *testing.T, run *evidence.Run) judge.Verdict {
	t.Helper()
	v := judge.Check(run)
	for i, finding := range v.Findings {
		if i == 10 {
			t.Fatalf("and %d more", len(v.Findings)-i)
		}
		t.Error(finding)
	}
	if n := len(run.Ops); n > 0 {
		t.Logf("%d acknowledged, %d unknown, %d refused", v.Operations[evidence.OK], v.Operations[evidence.Unknown], v.Operations[evidence.Refused])
	}
	return v
}

// touched reports whether any key that begins like this was ever written.
func touched(run *evidence.Run, prefix string) bool {
	for i := range run.Events {
		if strings.HasPrefix(run.Events[i].Key, prefix) {
			return true
		}
	}
	return false
}
