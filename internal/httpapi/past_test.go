// This file tests reads of past revisions.

package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// atRevision is the query for a past revision.
func atRevision(to int64) string { return "?revision=" + strconv.FormatInt(to, 10) }

func TestPast_OfOneMemento(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	before := a.put(t, "entity/w", "beside").want(http.StatusCreated).revision()
	created := a.put(t, "entity/x", "first", "Content-Type", "text/plain", wire.HeaderParent, "entity/w", wire.HeaderSchema, "3").
		want(http.StatusCreated).revision()
	between := a.put(t, "entity/y", "beside").want(http.StatusCreated).revision()
	replaced := a.put(t, "entity/x", "second").want(http.StatusOK).revision()
	deleted := a.del(t, "entity/x").want(http.StatusNoContent).revision()
	for _, n := range []*peer{a, b} {
		n.get(t, at("entity/x")+atRevision(before)).refused(http.StatusNotFound, wire.KindNotFound).has(wire.HeaderRevision, fmt.Sprint(before))
		for _, to := range []int64{created, between} {
			n.get(t, at("entity/x")+atRevision(to)).want(http.StatusOK).holds("first").has("ETag", fmt.Sprintf("%q", fmt.Sprint(created))).
				has("Content-Type", "text/plain").has(wire.HeaderParent, "entity/w").has(wire.HeaderSchema, "3").
				has(wire.HeaderRevision, fmt.Sprint(to)).has(wire.HeaderNode, n.id).has(wire.HeaderStaleness, "0").
				has(wire.HeaderTerm, strconv.FormatInt(a.Status().Term, 10))
		}
		n.get(t, at("entity/x")+atRevision(replaced)).want(http.StatusOK).holds("second").has(wire.HeaderParent, "")
		n.get(t, at("entity/x")+atRevision(deleted)).refused(http.StatusNotFound, wire.KindNotFound)
		n.get(t, at("entity/x")+atRevision(deleted+1000)).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	p.store.Compact()
	a.get(t, at("entity/x")+atRevision(created)).refused(http.StatusGone, wire.KindGone)
	a.get(t, wire.PathMementos+atRevision(created)).refused(http.StatusGone, wire.KindGone)
	a.get(t, at("entity/y")+atRevision(deleted)).want(http.StatusOK).holds("beside")
}

func TestPast_NeedsTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		rev := a.put(t, "entity/x", "1").want(http.StatusCreated).revision()
		p.store.Cut("a")
		a.get(t, at("entity/x")+atRevision(rev)).refused(http.StatusServiceUnavailable, wire.KindStore)
		a.get(t, wire.PathMementos+atRevision(rev)).refused(http.StatusServiceUnavailable, wire.KindStore)
		a.get(t, at("entity/x")).want(http.StatusOK)
	})
}

func TestPast_OfQuarantine(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	p.store.Put("entity/bad", rebind.Content{}, "garbled")
	bad := int64(p.store.Revision())
	a.put(t, "entity/bad", "repaired").want(http.StatusOK)
	a.get(t, at("entity/bad")+atRevision(bad)).refused(http.StatusUnprocessableEntity, wire.KindQuarantined).has(wire.HeaderRevision, fmt.Sprint(bad))
	if names := namesOf(a.list(t, "revision", fmt.Sprint(bad)).page()); !slices.Equal(names, []string{"entity/x"}) {
		t.Errorf("lists %v, want what can be read", names)
	}
}

// A listing of a past revision equals the listing at that time, for all queries.
func TestPast_ListsAsItWas(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.stock(t)
	queries := [][]string{
		{},
		{"type", "a"},
		{"type", "a", "prefix", "a"},
		{"prefix", "1"},
		{"type", "aa"},
		{"type", "b", "prefix", "3"},
		{"values", "true"},
	}
	var then []wire.List
	for _, q := range queries {
		then = append(then, a.list(t, q...).page())
	}
	for _, name := range orderedNames[:7] {
		a.del(t, name).want(http.StatusNoContent)
	}
	a.put(t, "b/1", "changed").want(http.StatusOK)
	a.put(t, "b/11", "new").want(http.StatusCreated)
	for i, q := range queries {
		rev := fmt.Sprint(then[i].Revision)
		got := a.list(t, append([]string{"revision", rev}, q...)...).page()
		if diff := cmp.Diff(then[i], got); diff != "" {
			t.Errorf("%v at revision %s (-then +now):\n%s", q, rev, diff)
		}
		for _, limit := range []string{"1", "3"} {
			paged, at := a.all(t, func() {}, append([]string{"revision", rev, "limit", limit}, q...)...)
			if diff := cmp.Diff(namesOf(then[i]), paged); diff != "" || at != then[i].Revision {
				t.Errorf("%v at revision %d on pages of %s (-then +now):\n%s", q, at, limit, diff)
			}
		}
	}
}

// Its pages are read in parts that fit memory, and nothing is lost between parts.
func TestPast_ListsInParts(t *testing.T) {
	a := newPlane(t).lead("a")
	large := strings.Repeat("x", maxPayload)
	const count = 90 // of 64 KiB each: more than one part, however they are cut
	for i := range count {
		a.put(t, fmt.Sprintf("entity/%03d", i), large).want(http.StatusCreated)
	}
	rev := a.inventoryAt(t)
	a.del(t, "entity/050").want(http.StatusNoContent)
	names := namesOf(a.list(t, "revision", fmt.Sprint(rev)).page())
	if len(names) != count || !slices.IsSorted(names) || names[50] != "entity/050" {
		t.Errorf("%d names: %v, want %d", len(names), names, count)
	}
}

// inventoryAt returns the revision of the node's copy.
func (n *peer) inventoryAt(t testing.TB) int64 {
	t.Helper()
	return n.list(t, "limit", "1").page().Revision
}

// Promise: the next page of a past listing can be read from any node at any time.
func TestPast_PagesGoOnAnywhereAndLater(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.stock(t)
		rev := fmt.Sprint(a.inventoryAt(t))
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		a.put(t, "a/000", "new").want(http.StatusCreated)
		first := a.list(t, "revision", rev, "limit", "5").page()
		<-time.After(10 * httpapi.ListingTTL)
		for _, query := range [][]string{{"revision", rev}, {}, {"max_staleness", "1s"}} {
			query = append(query, "limit", "100", "after", first.Next)
			if diff := cmp.Diff(orderedNames[5:], namesOf(b.list(t, query...).page())); diff != "" {
				t.Errorf("second page of %v, elsewhere (-want +got):\n%s", query, diff)
			}
		}
		a.list(t, "revision", fmt.Sprint(a.inventoryAt(t)), "after", first.Next).refused(http.StatusBadRequest, wire.KindBadRequest)
		now := a.list(t, "limit", "5").page()
		a.list(t, "revision", rev, "after", now.Next).refused(http.StatusBadRequest, wire.KindBadRequest)
		p.store.Compact()
		b.list(t, "after", first.Next).refused(http.StatusGone, wire.KindGone)
	})
}
