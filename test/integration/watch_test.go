package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// watchers asks etcd how many watches it serves.
func (h *house) watchers() int {
	h.t.Helper()
	resp, err := http.Get(h.etcd.Endpoint() + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^etcd_debugging_mvcc_watcher_total (\d+)$`).FindSubmatch(text)
	if found == nil {
		h.t.Fatal("etcd does not tell how many watches it serves")
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// follow watches a node's API from one revision to another and wants some changes in
// between, each revision once, in order.
func follow(ctx context.Context, c *client.Client, from, to rebind.Revision, want int, begun func()) error {
	stream, err := c.Open(ctx, client.Request{
		Method: http.MethodGet, Path: wire.PathWatch,
		Header: http.Header{wire.HeaderLastEvent: {strconv.FormatInt(int64(from), 10)}},
	})
	begun()
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	events := client.NewEvents(stream.Body)
	for at := int64(from); at < int64(to); {
		ev, err := events.Next()
		if err != nil {
			return fmt.Errorf("at revision %d: %w", at, err)
		}
		var step wire.Step
		if err := json.Unmarshal(ev.Data, &step); err != nil {
			return err
		}
		if ev.Kind == wire.EventChange {
			want--
		}
		if step.Revision < at || (ev.Kind == wire.EventChange && step.Revision == at) {
			return fmt.Errorf("%s %s comes after %d", ev.Kind, ev.Data, at)
		}
		at = step.Revision
	}
	if want != 0 {
		return fmt.Errorf("%d changes are missing", want)
	}
	return nil
}

// Promise: a thousand watchers of a hot node cost etcd as many watches as none do, and
// each is told of every revision once, in order; those that come from before what the
// node keeps cost it some only until they have caught up.
func TestWatch_AThousandWatchersCostOneWatch(t *testing.T) {
	h := newHouse(t)
	a := h.node("a", modes.Auto)
	h.await(a, modes.StateMaster)
	write := func(count int) (last rebind.Revision) {
		for i := range count {
			r, err := a.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/x", Put: &rebind.Content{Payload: []byte(strconv.Itoa(i))}}}})
			if err != nil {
				t.Fatal(err)
			}
			last = r.Revision
		}
		return last
	}
	early := write(1)
	write(10)
	b := h.node("b", modes.HotBackup)
	h.await(b, modes.StateHotBackup)
	eventually(t, maxWait, func() error { // after that an idle plane writes nothing
		p, err := a.Plane(t.Context())
		if m, ok := p.Member("b"); err != nil || !ok || m.State != modes.StateHotBackup {
			return fmt.Errorf("the store has b as %s, %w", m.State, err)
		}
		return nil
	})
	api := httpapi.New(httpapi.Config{Node: b, MaxPayload: 1 << 20})
	server := httptest.NewServer(api)
	h.stop = append(h.stop, func() { server.Close(); api.Close() })
	c, err := client.New(server.URL, client.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	from, none := write(1), h.watchers()
	const watchers, writes = 1000, 50
	var begun, all sync.WaitGroup
	errs := make([]error, watchers)
	for i := range watchers {
		begun.Add(1)
		all.Go(func() { errs[i] = follow(t.Context(), c, from, from+writes, writes, begun.Done) })
	}
	begun.Wait()
	if got := h.watchers(); got != none {
		t.Errorf("etcd serves %d watches with a thousand watchers, and %d with none", got, none)
	}
	if last := write(writes); last != from+writes {
		t.Fatalf("%d writes end at revision %d, want %d: something else writes", writes, last, from+writes)
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%.2000v", err)
	}

	var past sync.WaitGroup
	for i := range 20 {
		past.Go(func() { errs[i] = follow(t.Context(), c, early, from+writes, 10+1+writes, func() {}) })
	}
	past.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%.2000v", err)
	}
	eventually(t, maxWait, func() error {
		if got := h.watchers(); got != none {
			return fmt.Errorf("etcd serves %d watches when all have caught up, and %d with none", got, none)
		}
		return nil
	})
}
