package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Promise: a plane that a newer program has laid out, or that is not the node's own,
// is left alone: a node that starts is refused with nothing written, one that runs
// fails and says so, and comes back when its operator has it.
func TestIdentity_ForeignPlanesAreLeftAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	a.mustPut("entity/x", "1")
	own, err := c.raw.Get(t.Context(), "/coordinator/p/meta")
	if err != nil || len(own.Kvs) != 1 {
		t.Fatalf("meta = %v, %v", own, err)
	}
	for name, meta := range map[string]string{
		"newer format":  strings.Replace(string(own.Kvs[0].Value), `"format":1`, `"format":99`, 1),
		"another plane": `{"plane_id":"ANOTHER","format":1,"created":"2026-01-01T00:00:00Z"}`,
	} {
		if meta == string(own.Kvs[0].Value) {
			t.Fatalf("%s: meta is as it was: %s", name, meta)
		}
		if _, err := c.raw.Put(t.Context(), "/coordinator/p/meta", meta); err != nil {
			t.Fatal(err)
		}
		a.await("FAILED")
		var n struct {
			LastError string `json:"last_error"`
		}
		if err := a.get("/v1/node", &n); err != nil || !strings.Contains(n.LastError, "not this node's plane") {
			t.Errorf("%s: last_error = %q, %v", name, n.LastError, err)
		}
		before := c.quiet()
		late := c.spawnNode("b", "auto", "--plane-id", "MINE")
		if code := late.exit(maxWait); code != 3 {
			t.Errorf("%s: a node of another plane exits with %d, want 3\n%s", name, code, late.output())
		}
		if now := c.revision(); now != before {
			t.Errorf("%s: the refused node moved the revision from %d to %d", name, before, now)
		}
		if _, err := c.raw.Put(t.Context(), "/coordinator/p/meta", string(own.Kvs[0].Value)); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := command(t, "mode", "auto", "--server", a.url); code != 0 {
			t.Errorf("%s: mode auto afterwards: %d %s", name, code, stderr)
		}
		a.await("MASTER")
		eventually(t, maxWait, func() error {
			if err := a.reads("entity/x", "1"); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	c.judge()
}
