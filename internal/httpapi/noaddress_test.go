// This file tests a master that advertises no address.

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// A node that advertises no address says so in its plane, and whatever would have to be forwarded to
// it is refused with the reason and what to do. Asked itself, it works.
func TestNoAddress_IsSaidInWords(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a", func(cfg *coordinator.Config) { cfg.URI = "" })
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	b.sees(t, "a")
	const words = "node a advertises no address: set Config.URI / --advertise-url"
	for what, got := range map[string]*answer{
		"put":      b.put(t, "entity/x", "1"),
		"delete":   b.del(t, "entity/x"),
		"import":   b.importArchive(t, "", nil),
		"handover": b.send(t, http.MethodPost, wire.PathHandover, `{"dry_run":true}`),
		"pause":    b.send(t, http.MethodPost, wire.PathPause, `{}`),
		"resume":   b.send(t, http.MethodPost, wire.PathResume, `{}`),
		"forget":   b.send(t, http.MethodDelete, wire.PathLeft+"/c", ""),
	} {
		got.refused(http.StatusServiceUnavailable, wire.KindNoMaster)
		if !strings.Contains(string(got.body), words) {
			t.Errorf("%s: %s, want %q", what, got.body, words)
		}
	}
	stayed := b.put(t, "entity/x", "1", wire.HeaderForward, wire.ForwardNever)
	stayed.refused(http.StatusServiceUnavailable, wire.KindNoMaster)
	if !strings.Contains(string(stayed.body), words) {
		t.Errorf("not forwarded: %s, want %q", stayed.body, words)
	}
	var seen wire.Plane
	b.get(t, wire.PathPlane).want(http.StatusOK).decode(&seen)
	for _, n := range seen.Nodes {
		if want := map[string]string{"a": wire.NoAddress}[n.ID]; n.Unreachable != want {
			t.Errorf("node %s: unreachable = %q, want %q", n.ID, n.Unreachable, want)
		}
	}
	a.put(t, "entity/x", "1").want(http.StatusCreated)
}
