// This file tests how current reads are.

package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// freshMS is how old something may be, in real time, that has just happened.
const freshMS = 500 // ms

// staleness returns the answer's Coordinator-Staleness-Ms.
func (a *answer) staleness() int64 {
	a.t.Helper()
	ms, err := strconv.ParseInt(a.header.Get(wire.HeaderStaleness), 10, 64)
	if err != nil {
		a.t.Fatalf("%s: %s: %v", a.what, wire.HeaderStaleness, err)
	}
	return ms
}

// Promise: with max_staleness the copy is confirmed first if necessary, and the read is refused
// only if that fails.
func TestRead_MaxStaleness(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.put(t, "entity/x", "1").want(http.StatusCreated)
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		p.store.Cut("b")
		<-time.After(10 * time.Second)
		if old := b.get(t, at("entity/x")).want(http.StatusOK).holds("1").staleness(); old < 10_000 {
			t.Fatalf("copy is %d ms old, the test shows nothing", old)
		}
		for _, path := range []string{at("entity/x"), wire.PathMementos} {
			b.get(t, path+"?max_staleness=1m").want(http.StatusOK)
			for _, limit := range []string{"0s", "500ms", "9.5s"} {
				b.get(t, path+"?max_staleness="+limit).refused(http.StatusServiceUnavailable, wire.KindStore).has("Retry-After", wire.RetryAfter)
			}
		}
		p.store.Heal("b")
		for _, path := range []string{at("entity/x"), wire.PathMementos} {
			if old := b.get(t, path+"?max_staleness=1ms").want(http.StatusOK).staleness(); old > freshMS {
				t.Errorf("GET %s is %d ms old after it was confirmed", path, old)
			}
		}
	})
}

// A master with a valid lease needs no store for max_staleness, but it does for consistent.
func TestRead_OnAMasterWithoutItsStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.put(t, "entity/x", "1").want(http.StatusCreated)
		p.store.Cut("a")
		a.get(t, at("entity/x")+"?max_staleness=0s").want(http.StatusOK).holds("1").has(wire.HeaderStaleness, "0")
		a.get(t, at("entity/x")+"?consistent=true").refused(http.StatusServiceUnavailable, wire.KindStore).has("Retry-After", wire.RetryAfter)
		<-time.After(2 * bubbleTTL)
		a.get(t, at("entity/x")+"?max_staleness=1s").refused(http.StatusServiceUnavailable, wire.KindStore)
	})
}

// Promise: with consistent=true every node shows whatever the store had when the request came.
func TestRead_Consistent(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	for i := range 50 {
		for _, n := range []*peer{a, b} {
			payload := fmt.Sprintf("%s %d", n.id, i)
			p.store.Put("entity/x", rebind.Content{Payload: []byte(payload)}, "")
			p.store.DeleteRecord("nobody") // a revision without a change of mementos
			head := int64(p.store.Revision())
			if rev := n.get(t, at("entity/x")+"?consistent=true").want(http.StatusOK).holds(payload).revision(); rev < head {
				t.Fatalf("%s answers from revision %d, the store was at %d", n.id, rev, head)
			}
			if list := n.list(t, "consistent", "true", "max_staleness", "1m", "min_revision", "1").page(); list.Revision < head {
				t.Fatalf("%s lists revision %d, the store was at %d", n.id, list.Revision, head)
			}
		}
	}
	a.get(t, at("entity/x")+"?consistent=false&max_staleness=1h").want(http.StatusOK)
}

// A copy that does not reach the revision in time is reported, with when to ask again.
func TestRead_NotReachedInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		for _, query := range []string{"?min_revision=100000", "?consistent=true&min_revision=100000"} {
			began := time.Now()
			a.get(t, wire.PathMementos+query).refused(http.StatusServiceUnavailable, wire.KindNotReady).has("Retry-After", wire.RetryAfter)
			if took := time.Since(began); took != httpapi.CurrentTimeout {
				t.Errorf("refused after %s, want %s", took, httpapi.CurrentTimeout)
			}
		}
	})
}

func TestRead_BadQueries(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	for _, query := range []string{
		"max_staleness=", "max_staleness=5", "max_staleness=-1s", "max_staleness=soon", "max_staleness=99999999h",
		"consistent", "consistent=", "consistent=1", "consistent=yes",
		"min_revision=", "min_revision=-1", "min_revision=1.5",
		"revision=", "revision=0", "revision=-1", "revision=latest", "revision=99999999999999999999",
		"revision=2&consistent=true", "revision=2&max_staleness=1s", "revision=2&min_revision=1",
	} {
		for _, path := range []string{at("entity/x"), wire.PathMementos} {
			a.get(t, path+"?"+query).refused(http.StatusBadRequest, wire.KindBadRequest)
		}
	}
	a.get(t, at("entity/x")+"?values=true").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.list(t, "values", "yes").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.list(t, "values", "").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.get(t, at("entity/x")+"?min_revision=0&max_staleness="+url.QueryEscape("1m0.5s")).want(http.StatusOK)
}

// A node that holds no state serves no reads, whatever the request asks for.
func TestRead_NotServedByOthers(t *testing.T) {
	p := newPlane(t)
	p.lead("a")
	cold := p.join("c", modes.Standby, modes.StateStandby)
	for _, query := range []string{"", "?consistent=true", "?max_staleness=1s", "?min_revision=1", "?revision=2"} {
		for _, path := range []string{at("entity/x"), wire.PathMementos} {
			cold.get(t, path+query).refused(http.StatusServiceUnavailable, wire.KindNotReady)
		}
	}
}
