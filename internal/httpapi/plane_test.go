// This file tests GET /v1/plane, history and handover.

package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// plane returns the plane as GET /v1/plane of that node shows it.
func (n *peer) plane(t testing.TB) wire.Plane {
	t.Helper()
	var shown wire.Plane
	n.get(t, wire.PathPlane).want(http.StatusOK).decode(&shown)
	return shown
}

// idOf returns what a pointer to an id points to, for messages and comparisons.
func idOf(id *string) string {
	if id == nil {
		return "null"
	}
	return *id
}

func TestPlane_ShowsWhoLeadsAndWhoCould(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	// In the order of ids, which is neither the order of joining nor that of rank.
	d := p.join("d", modes.HotStandby, modes.StateHotStandby)
	p.join("b", modes.HotBackup, modes.StateHotBackup)
	p.join("c", modes.Standby, modes.StateStandby, func(cfg *coordinator.Config) { cfg.Priority = -1 })
	d.sees(t, "a", "d", "c")
	for _, n := range []*peer{a, d} {
		got := n.plane(t)
		if got.Plane != "p" || idOf(got.Master) != "a" || idOf(got.Next) != "d" || got.Revision < 1 ||
			got.Term != a.Status().Term || got.PlaneID == "" || got.StoreError != "" {
			t.Errorf("plane %s (%s), master %s, next %s, term %d, revision %d, store error %q",
				got.Plane, got.PlaneID, idOf(got.Master), idOf(got.Next), got.Term, got.Revision, got.StoreError)
		}
		var nodes []string
		for _, m := range got.Nodes {
			nodes = append(nodes, fmt.Sprintf("%s %s %s %d term %d: %t %s", m.ID, m.Mode, m.State, m.Priority, m.Term, m.Promotable, m.WhyNot))
		}
		want := []string{
			fmt.Sprintf("a auto MASTER 0 term %d: true ", got.Term),
			"b hot_backup HOT_BACKUP 0 term 0: false mode hot_backup is never promoted",
			"c standby STANDBY -1 term 0: true ",
			"d hot_standby HOT_STANDBY 0 term 0: true ",
		}
		if diff := cmp.Diff(want, nodes); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
		if got.Nodes[0].URI != a.url {
			t.Errorf("a is at %s, want %s", got.Nodes[0].URI, a.url)
		}
	}
}

func TestPlane_WithoutAMaster(t *testing.T) {
	a := newPlane(t).join("a", modes.HotBackup, modes.StateHotBackup)
	got := a.plane(t)
	if got.Master != nil || got.Next != nil || got.Term != 0 || got.PlaneID != "" || len(got.Nodes) != 1 {
		t.Errorf("master %s, next %s, term %d, plane id %q, %d nodes", idOf(got.Master), idOf(got.Next), got.Term, got.PlaneID, len(got.Nodes))
	}
}

func TestPlane_WithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.HotStandby, modes.StateHotStandby)
		b.sees(t, "a", "b")
		p.store.Cut("b")
		began := time.Now()
		got := b.plane(t)
		if got.StoreError == "" || idOf(got.Master) != "a" || len(got.Nodes) != 2 {
			t.Errorf("store error %q, master %s, %d nodes, want what was seen last", got.StoreError, idOf(got.Master), len(got.Nodes))
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("answered after %s", took)
		}
		b.get(t, wire.PathHistory).refused(http.StatusServiceUnavailable, wire.KindStore).has("Retry-After", "1")
	})
}

// A master that has lost the store no longer names itself master, however old its picture of
// the plane is.
func TestPlane_DemotedMasterWithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		p.store.Cut("a")
		<-time.After(bubbleTTL)
		synctest.Wait()
		got := a.plane(t)
		if got.StoreError == "" || got.Master != nil || got.Next != nil || len(got.Nodes) != 1 {
			t.Fatalf("store error %q, master %s, next %s, %d nodes", got.StoreError, idOf(got.Master), idOf(got.Next), len(got.Nodes))
		}
		if n := got.Nodes[0]; n.State != modes.StateHotStandby || n.Term != 0 || n.Promotable {
			t.Errorf("shows itself as %s of term %d, promotable %t", n.State, n.Term, n.Promotable)
		}
	})
}

// handover requests a handover.
func (n *peer) handover(t testing.TB, to string, header ...string) *answer {
	t.Helper()
	return n.send(t, http.MethodPost, wire.PathHandover, fmt.Sprintf(`{"to":%q}`, to), header...)
}

func TestHandover_PassesMastership(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	old := a.Status().Term
	for _, n := range []*peer{a, c} {
		n.sees(t, "a", "b")
	}

	var passed wire.HandoverReply
	c.handover(t, "b").want(http.StatusOK).decode(&passed) // forwarded to the master
	if passed.From != "a" || passed.To != "b" || passed.Term <= old || passed.DurationMS < 0 {
		t.Errorf("handover = %+v, the term before was %d", passed, old)
	}
	if got := c.plane(t); idOf(got.Master) != "b" || got.Term != passed.Term {
		t.Errorf("master %s of term %d, want b of term %d", idOf(got.Master), got.Term, passed.Term)
	}
	b.get(t, at("entity/x")).want(http.StatusOK).holds("1")
	b.put(t, "entity/x", "2").want(http.StatusOK)

	a.await(t, modes.StateHotStandby)
	for _, n := range []*peer{a, b} {
		n.sees(t, "b", "a")
	}
	// To the best candidate, asked of the master itself.
	b.send(t, http.MethodPost, wire.PathHandover, `{}`).want(http.StatusOK).decode(&passed)
	if passed.From != "b" || passed.To != "a" {
		t.Errorf("handover to the best = %+v", passed)
	}
}

func TestHandover_Refused(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	for _, n := range []*peer{a, b, c} {
		n.sees(t, "a", "b")
	}
	for name, to := range map[string]struct{ id, reason string }{
		"an unknown node":  {"z", "no live node z"},
		"no node's name":   {"..", "no live node .."},
		"a hot backup":     {"c", "never promoted"},
		"the master again": {"a", "leads already"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []*peer{a, b, c} {
				detail := string(n.handover(t, to.id).refused(http.StatusConflict, wire.KindRefused).body)
				if !strings.Contains(detail, to.reason) {
					t.Errorf("asked of %s: %s, want the reason %q", n.id, detail, to.reason)
				}
			}
		})
	}
	if got := a.plane(t); idOf(got.Master) != "a" {
		t.Errorf("master is %s", idOf(got.Master))
	}
	b.handover(t, "b", wire.HeaderForward, wire.ForwardNever).refused(http.StatusMisdirectedRequest, wire.KindNotMaster).has("Location", a.url)
}

func TestHandover_NeedsSomebody(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	p.join("b", modes.HotBackup, modes.StateHotBackup)
	a.send(t, http.MethodPost, wire.PathHandover, `{}`).refused(http.StatusConflict, wire.KindRefused)
	a.put(t, "entity/x", "1").want(http.StatusCreated) // it still leads
}

func TestHandover_NeedsAMaster(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.join("a", modes.HotBackup, modes.StateHotBackup)
		a.handover(t, "a").refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1")
	})
}

func TestHistory_TellsWhoLedAndWhy(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	a.sees(t, "a", "b")
	var passed wire.HandoverReply
	a.handover(t, "b").want(http.StatusOK).decode(&passed)
	b.sees(t, "b", "a")
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	a.await(t, modes.StateMaster)

	var history wire.History
	a.get(t, wire.PathHistory).want(http.StatusOK).decode(&history)
	var got []string
	for _, h := range history.Items {
		got = append(got, fmt.Sprintf("%s from %q: %s, gap %t, %d mementos", h.Node, h.From, h.Reason, h.GapMS != nil, h.Mementos))
	}
	want := []string{
		`a from "b": handover, gap true, 1 mementos`,
		`b from "a": handover, gap true, 1 mementos`,
		`a from "": start, gap false, 0 mementos`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("history (-want +got):\n%s", diff)
	}
	if items := history.Items; items[1].Term != passed.Term || items[0].Term <= items[1].Term || items[1].Term <= items[2].Term ||
		items[0].Since.Before(items[1].Since) || items[1].Since.Before(items[2].Since) {
		t.Errorf("terms are not in order: %+v", items)
	}
}
