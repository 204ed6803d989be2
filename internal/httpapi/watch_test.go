// This file tests watches.

package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// write writes a memento without the API and returns its revision.
func (p *plane) write(name rebind.Name, payload string) int64 {
	p.store.Put(name, rebind.Content{Payload: []byte(payload)}, "")
	return int64(p.store.Revision())
}

// Promise: one event for each revision, with the revision as its id and all that was put.
func TestWatch_TellsOfEachRevision(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	s := a.subscribe(t, "")
	from := p.write("note/first", "")
	s.until(from)
	s.steps = nil
	a.put(t, "entity/x", `{"n": 1}`, "Content-Type", "application/json", wire.HeaderParent, "entity/p", wire.HeaderSchema, "3").want(http.StatusCreated)
	a.send(t, http.MethodPost, wire.PathBatch, `{"ops":[{"op":"put","type":"policy","id":"y","content_type":"image/png","data_base64":"/wA="},{"op":"delete","type":"entity","id":"x"}]}`).want(http.StatusOK)
	p.store.Put("entity/odd", rebind.Content{}, "not a memento")
	last := p.write("entity/none", "")
	s.until(last)

	var got []string
	for _, step := range s.steps {
		text, err := json.Marshal(step)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	want := []string{
		`{"revision":R1,"changes":[{"op":"put","type":"entity","id":"x","mod_revision":R1,"parent":"entity/p","content_type":"application/json","schema":3,"create_revision":R1,"version":1,"size":8,"data":{"n":1}}]}`,
		`{"revision":R2,"changes":[{"op":"put","type":"policy","id":"y","mod_revision":R2,"parent":"","content_type":"image/png","schema":0,"create_revision":R2,"version":1,"size":2,"data_base64":"/wA="},{"op":"delete","type":"entity","id":"x","mod_revision":R2}]}`,
		`{"revision":R3,"changes":[{"op":"put","type":"entity","id":"odd","mod_revision":R3,"fault":"not a memento"}]}`,
		`{"revision":R4,"changes":[{"op":"put","type":"entity","id":"none","mod_revision":R4,"parent":"","content_type":"","schema":0,"create_revision":R4,"version":1,"size":0,"data_base64":""}]}`,
	}
	for i := range want {
		for n := range want {
			want[i] = strings.ReplaceAll(want[i], fmt.Sprintf("R%d", n+1), strconv.FormatInt(from+int64(n)+1, 10))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}

	policies := a.subscribe(t, fmt.Sprintf("?type=policy&from_revision=%d", from))
	p.write("policy/z", "1")
	policies.until(last + 1)
	told := []string{fmt.Sprintf("%d put policy/y", from+2), fmt.Sprintf("%d put policy/z", last+1)}
	if diff := cmp.Diff(told, policies.told()); diff != "" {
		t.Errorf("watch of one type (-want +got):\n%s", diff)
	}
}

// Promise: a watcher is told how far the watch has come, at first and every ten seconds, even
// if nothing it asked for happens.
func TestWatch_Bookmarks(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		<-time.After(5 * time.Second) // nothing happens, and the mirror has caught up
		began := p.store.Revision()
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		rec := httptest.NewRecorder()
		var watching sync.WaitGroup
		watching.Go(func() {
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+wire.PathWatch+"?type=policy", nil)
			a.api.ServeHTTP(rec, req)
		})
		synctest.Wait()
		for range 100 {
			p.write("entity/x", "1")
			<-time.After(150 * time.Millisecond)
		}
		watching.Wait()
		want := ""
		for _, rev := range []rebind.Revision{began, began + 67, began + 100} {
			want += fmt.Sprintf("event: bookmark\nid: %d\ndata: {\"revision\":%d}\n\n", rev, rev)
		}
		if diff := cmp.Diff(want, rec.Body.String()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// Promise: from_revision and Last-Event-ID give what came after, from the store if the node no
// longer keeps it, and 410 if the store does not either.
func TestWatch_FromThePast(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	from := int64(p.store.Revision())
	for i := range 150 { // more than the store sends at once
		p.write(rebind.Name(fmt.Sprintf("entity/e%d", i)), "1")
	}
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	last := p.write("entity/last", "1")

	of := func(n *peer, query string, header ...string) []string {
		return n.subscribe(t, query, header...).until(last).told()
	}
	all := of(a, fmt.Sprintf("?from_revision=%d", from))
	if len(all) != 151 {
		t.Fatalf("the master tells of %d revisions, want 151: %v", len(all), all)
	}
	for name, got := range map[string][]string{
		"a node that came later": of(b, fmt.Sprintf("?from_revision=%d", from)),
		"Last-Event-ID":          of(b, "", wire.HeaderLastEvent, strconv.FormatInt(from, 10)),
		"both":                   of(b, fmt.Sprintf("?from_revision=%d", last), wire.HeaderLastEvent, strconv.FormatInt(from, 10)),
	} {
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	p.store.Compact()
	b.get(t, fmt.Sprintf("%s?from_revision=%d", wire.PathWatch, from)).refused(http.StatusGone, wire.KindGone)
	a.subscribe(t, fmt.Sprintf("?from_revision=%d", from)) // the node still keeps this one
	b.get(t, fmt.Sprintf("%s?from_revision=%d", wire.PathWatch, last+1000)).refused(http.StatusGone, wire.KindGone)
	for _, query := range []string{"?from_revision=-1", "?from_revision=x", "?type=Bad", "?from=1"} {
		b.get(t, wire.PathWatch+query).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	b.do(t, http.MethodGet, wire.PathWatch, nil, wire.HeaderLastEvent, "x").refused(http.StatusBadRequest, wire.KindBadRequest)
	b.do(t, http.MethodHead, wire.PathWatch, nil).want(http.StatusOK).has("Content-Type", wire.EventStream)
	p.store.Cut("b")
	b.get(t, fmt.Sprintf("%s?from_revision=%d", wire.PathWatch, last+1000)).refused(http.StatusServiceUnavailable, wire.KindStore)
	p.store.Heal("b")

	c := p.join("c", modes.Standby, modes.StateStandby)
	c.get(t, wire.PathWatch).refused(http.StatusServiceUnavailable, wire.KindNotReady)
}

// Promise: a client that reconnects again and again, to any node, misses nothing and gets
// nothing twice.
func TestWatch_ResumesWhereItWas(t *testing.T) {
	p := newPlane(t)
	nodes := []*peer{p.lead("a"), p.join("b", modes.HotBackup, modes.StateHotBackup)}
	from := nodes[0].subscribe(t, "").at
	const writes = 300
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for i := range writes {
			if _, err := nodes[0].try(t, http.MethodPut, at(fmt.Sprintf("entity/e%d", i%7)), []byte(strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		}
	})
	var told []string
	for last := from; len(told) < writes; {
		n := nodes[len(told)%2]
		s := n.subscribe(t, "", wire.HeaderLastEvent, strconv.FormatInt(last, 10))
		for len(s.steps) < 1+len(told)%5 && len(told)+len(s.steps) < writes {
			if _, err := s.next(); err != nil {
				t.Fatal(err)
			}
		}
		s.end()
		told, last = append(told, s.told()...), s.at
	}
	whole := nodes[1].subscribe(t, fmt.Sprintf("?from_revision=%d", from))
	for len(whole.steps) < writes {
		if _, err := whole.next(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(whole.told(), told); diff != "" {
		t.Errorf("told in pieces (-want +got):\n%s", diff)
	}
}

// Promise: a thousand watchers of a hot node cost the store one watch, and each gets every
// revision once and in order.
func TestWatch_ManySubscribersCostOneWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		var store *watchCountingStore
		p.wrap = func(s driver.Store) driver.Store {
			store = &watchCountingStore{Store: s}
			return store
		}
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		b.connect(t)
		const subscribers, writes = 1000, 30
		first := p.store.Revision()
		var want []string
		for i := range writes {
			want = append(want, fmt.Sprintf("%d put entity/e%d", int(first)+i+1, i))
		}
		var ready, all sync.WaitGroup
		errs := make([]error, subscribers)
		for i := range subscribers {
			ready.Add(1)
			all.Go(func() {
				s, err := b.trySubscribe(t, "")
				ready.Done()
				if err == nil {
					defer s.end()
					err = s.tryUntil(int64(first) + writes)
				}
				if err == nil && !slices.Equal(s.told(), want) {
					err = fmt.Errorf("told of %v, want %v", s.told(), want)
				}
				errs[i] = err
			})
		}
		ready.Wait()
		for i := range writes {
			p.write(rebind.Name(fmt.Sprintf("entity/e%d", i)), "1")
			if i%3 == 0 {
				<-time.After(time.Millisecond)
			}
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Errorf("%.2000v", err)
		}
		if store.open.Load() != 1 || store.opened.Load() != 1 {
			t.Errorf("%d watches of the store are open, %d were opened: want 1", store.open.Load(), store.opened.Load())
		}
	})
}

// Promise: a watcher that does not read is cut off, and the others continue.
func TestWatch_SlowSubscriberIsCut(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		slow, quick := a.subscribe(t, ""), a.subscribe(t, "")
		last := p.write("entity/x", "1")
		quick.until(last)
		<-time.After(httpapi.PartTimeout + time.Second)
		last = p.write("entity/x", "2")
		quick.until(last)
		if _, err := slow.next(); err == nil {
			t.Errorf("the slow one is at %d and still served", slow.at)
		}
		again := a.subscribe(t, "", wire.HeaderLastEvent, strconv.FormatInt(slow.at, 10)).until(last)
		if len(again.steps) != 2 {
			t.Errorf("the slow one comes back and is told %v, want both revisions", again.told())
		}
	})
}

// Promise: a watcher that falls behind what the node keeps is told so, and catches up when it
// reconnects, as long as the store has it.
func TestWatch_SubscriberFallsOutOfTheFeed(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		s := a.subscribe(t, "")
		const writes = 10_100
		last := p.write("entity/x", "first")
		synctest.Wait() // the node is sending to it, and it does not read
		for i := range writes {
			last = p.write("entity/x", strconv.Itoa(i))
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		<-time.After(time.Second)
		s.ends(wire.KindGone)
		if s.at >= last {
			t.Fatalf("told up to %d, which is everything", s.at)
		}
		again := a.subscribe(t, "", wire.HeaderLastEvent, strconv.FormatInt(s.at, 10)).until(last)
		if got := len(s.steps) + len(again.steps); got != 1+writes {
			t.Errorf("told of %d revisions in all, want %d", got, 1+writes)
		}
	})
}

// Promise: a watch ends with its source: when the node no longer holds state, when the node
// stops, which a stream does not delay, and when the store was restored.
func TestWatch_EndsWithTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		shutdown := b.connect(t)
		s := b.subscribe(t, "")
		if _, err := b.ChangeMode(t.Context(), modes.HotStandby); err != nil {
			t.Fatal(err)
		}
		s.until(p.write("entity/x", "1")) // a change between hot modes keeps the mirror
		if _, err := b.ChangeMode(t.Context(), modes.Standby); err != nil {
			t.Fatal(err)
		}
		s.ends(wire.KindNotReady)

		if _, err := b.ChangeMode(t.Context(), modes.HotBackup); err != nil {
			t.Fatal(err)
		}
		s = b.subscribe(t, "")
		var stopping sync.WaitGroup
		stopping.Go(func() { _ = b.stop() })
		s.ends(wire.KindNotReady)
		stopping.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			t.Errorf("the server does not come to its end: %v", err)
		}
	})
}

func TestWatch_StoreIsRestored(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		early := p.store.Revision()
		for range 50 {
			p.write("entity/x", "1")
		}
		s := a.subscribe(t, "").until(int64(p.store.Revision()))
		p.store.Restore(early)
		s.ends(wire.KindStore)
		a.await(t, modes.StateMaster)
		<-time.After(10 * time.Second)
		a.get(t, fmt.Sprintf("%s?from_revision=%d", wire.PathWatch, s.at)).refused(http.StatusGone, wire.KindGone)
		a.subscribe(t, "").until(p.write("entity/y", "1"))
	})
}

// A client that has read its own write on another node is not told that its revision belongs to
// another history: this node's copy will reach it.
func TestWatch_FromARevisionThatIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		b.connect(t)
		p.store.DeleteRecord("nobody") // a revision without a change of mementos
		ahead := int64(p.store.Revision())
		s := b.subscribe(t, fmt.Sprintf("?from_revision=%d", ahead))
		if s.at != ahead {
			t.Errorf("the first bookmark is at %d, want %d", s.at, ahead)
		}
		s.until(p.write("entity/x", "1"))
	})
}
