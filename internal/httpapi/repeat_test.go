// This file tests puts that are repeated with an idempotency key.

package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// key is the header that makes a put repeatable.
func key(id string) []string { return []string{wire.HeaderKey, id} }

// Promise: a repeated put is answered with the first result while the memento still has its
// key, and writes nothing.
func TestPut_RepeatAnswersTheFirstResult(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	create := append(key("one"), "If-None-Match", "*")
	first := a.put(t, "entity/x", "1", create...)
	etag := first.stored(http.StatusCreated)
	head := p.store.Revision()
	for _, n := range []*peer{a, b} { // forwarded with its key
		again := n.put(t, "entity/x", "1", create...)
		if again.stored(http.StatusCreated) != etag {
			t.Errorf("repeat through %s: ETag %s, want %s", n.id, again.header.Get("ETag"), etag)
		}
	}
	replace := append(key("two"), "If-Match", etag)
	second := b.put(t, "entity/x", "2", replace...).stored(http.StatusOK)
	for _, n := range []*peer{b, a} {
		n.put(t, "entity/x", "2", replace...).want(http.StatusOK).has("ETag", second)
	}
	if now := p.store.Revision(); now != head+1 {
		t.Errorf("%d writes, want one for each key", now-head+1)
	}
	// Another write replaces the key.
	a.put(t, "entity/x", "1", create...).refused(http.StatusPreconditionFailed, wire.KindPrecondition)
	a.put(t, "entity/x", "3", key("one")...).want(http.StatusOK)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("3")
	// A key belongs to one memento.
	a.put(t, "entity/y", "1", key("one")...).want(http.StatusCreated)
}

// Promise: the same put, sent many times at once through all nodes, applies once and is always
// answered with that result.
func TestPut_RepeatsAtOnceApplyOnce(t *testing.T) {
	p := newPlane(t)
	nodes := []*peer{p.lead("a"), p.join("b", modes.HotStandby, modes.StateHotStandby), p.join("c", modes.HotBackup, modes.StateHotBackup)}
	for round := range 20 {
		before := p.store.Revision()
		told := make([]string, 12)
		var group sync.WaitGroup
		for i := range told {
			group.Go(func() {
				got, err := nodes[i%len(nodes)].try(t, http.MethodPut, at("entity/x"), []byte("v"), key(fmt.Sprintf("round-%d", round))...)
				if err != nil {
					t.Error(err)
					return
				}
				told[i] = fmt.Sprint(got.status, " ", got.header.Get("ETag"))
			})
		}
		group.Wait()
		for _, answer := range told {
			if answer != told[0] {
				t.Fatalf("round %d: told %v", round, told)
			}
		}
		if now := p.store.Revision(); now != before+1 {
			t.Fatalf("round %d: %d writes", round, now-before)
		}
	}
}

// The next master knows the keys that were stored.
func TestPut_RepeatAtTheNextMaster(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	etag := a.put(t, "entity/x", "1", key("one")...).stored(http.StatusCreated)
	b.sees(t, "a", "b")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	b.await(t, modes.StateMaster)
	b.put(t, "entity/x", "1", key("one")...).want(http.StatusCreated).has("ETag", etag)
}

func TestPut_BadKeys(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "stays").want(http.StatusCreated)
	before := a.inventory(t)
	for name, header := range map[string][]string{
		"an empty one":         key(""),
		"one that is too long": key(strings.Repeat("k", 129)),
		"one with a space":     key("a b"),
		"one beyond ASCII":     key("é"),
		"two":                  append(key("a"), key("b")...),
	} {
		t.Run(name, func(t *testing.T) {
			a.put(t, "entity/x", "new", header...).refused(http.StatusBadRequest, wire.KindBadRequest)
		})
	}
	for _, request := range []func() *answer{
		func() *answer { return a.del(t, "entity/x", key("k")...) },
		func() *answer { return a.do(t, http.MethodGet, at("entity/x"), nil, key("k")...) },
		func() *answer { return a.send(t, http.MethodPost, wire.PathBatch, `{"ops":[]}`, key("k")...) },
		func() *answer { return a.send(t, http.MethodPut, wire.PathPriority, `{"priority":1}`, key("k")...) },
	} {
		request().refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	if after := a.inventory(t); len(after) != len(before) || after[0].ModRevision != before[0].ModRevision {
		t.Errorf("refused, and the state changed: %+v", after)
	}
	a.put(t, "entity/x", "new", key(strings.Repeat("k", 128))...).want(http.StatusOK)
}
