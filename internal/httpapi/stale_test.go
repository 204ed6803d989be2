// This file tests that writes are not begun once their callers have given them up.

package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// fakeStandstill is a node's standstill as a test sets it.
type fakeStandstill struct{ woken atomic.Bool }

// Found implements [httpapi.StandstillDetector]. Its first call waits a while.
func (f *fakeStandstill) Found() clock.Moment {
	if f.woken.Swap(false) {
		<-time.After(httpapi.MinStale + 10*time.Millisecond)
		return clock.Now()
	}
	return clock.Moment{}
}

// wake makes the next call to Found report a standstill that lasted until then.
func (f *fakeStandstill) wake() { f.woken.Store(true) }

// everyWrite has, for each route that changes something, a request that would succeed.
func everyWrite(api *httpapi.Server) map[string]string {
	bodies := map[string]string{
		"PUT " + wire.PathMode: `{"mode":"hot_standby"}`, "PUT " + wire.PathPriority: `{"priority":7}`, "PUT " + wire.PathLogLevel: `{"level":"debug"}`,
		"POST " + wire.PathBatch:    `{"ops":[{"op":"put","type":"entity","id":"x","data":2}]}`,
		"POST " + wire.PathHandover: `{"to":"b"}`, "POST " + wire.PathPause: `{}`, "POST " + wire.PathResume: `{}`,
		"PUT " + wire.PathMementos + "/{type}/{id}": "2",
	}
	writes := make(map[string]string)
	for _, pattern := range api.Patterns() {
		if !strings.HasPrefix(pattern, "GET ") {
			writes[pattern] = bodies[pattern]
		}
	}
	return writes
}

// Promise: on every route, forwarded or not, a write whose deadline has passed, or that waited
// while the process was suspended, is answered with 503 and not begun.
func TestStale_WritesThatWereGivenUp(t *testing.T) {
	p := newPlane(t)
	still := map[string]*fakeStandstill{"a": {}, "b": {}}
	p.configure = func(id string, cfg *httpapi.Config) { cfg.Standstill = still[id] }
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	archive := a.get(t, wire.PathExport).want(http.StatusOK).body
	a.put(t, "entity/y", "1").want(http.StatusCreated)
	before := a.inventory(t)
	untouched := func(why string) {
		t.Helper()
		st, plane := b.Status(), a.CachedPlane()
		if diff := cmp.Diff(before, a.inventory(t)); diff != "" || st.Priority != 0 || a.Status().Priority != 0 || plane.Pause != nil || a.Status().State != modes.StateMaster {
			t.Errorf("%s: something has changed: %+v %s", why, plane, diff)
		}
	}
	each := func(check func(n *peer, method, path string, body []byte)) {
		for pattern, body := range everyWrite(a.api) {
			method, path := concrete(pattern)
			if path == wire.PathImport {
				path, body = path+"?replace=true", string(archive)
			}
			for _, n := range []*peer{a, b} {
				check(n, method, path, []byte(body))
			}
		}
	}
	each(func(n *peer, method, path string, body []byte) {
		n.do(t, method, path, body, wire.HeaderDeadline, time.Now().Add(-time.Second).Format(time.RFC3339Nano)).
			refused(http.StatusServiceUnavailable, wire.KindNotBegun)
	})
	untouched("deadline")
	each(func(n *peer, method, path string, body []byte) {
		still[n.id].wake()
		n.do(t, method, path, body).refused(http.StatusServiceUnavailable, wire.KindNotBegun).has("Retry-After", wire.RetryAfter)
	})
	untouched("standstill")
	// A master that was suspended gets what another node sends it.
	eventually(t, func() error { // until b is awake
		if got, err := b.try(t, http.MethodPut, at("entity/z"), []byte("1")); err != nil || got.status >= 300 {
			return fmt.Errorf("%v %v", got, err)
		}
		return nil
	})
	still["a"].wake()
	b.put(t, "entity/x", "2").refused(http.StatusServiceUnavailable, wire.KindNotBegun)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
	// Reads and health checks are not affected.
	a.get(t, wire.PathReady).want(http.StatusOK)
	// Later writes are accepted, and so are deadlines in the future.
	eventually(t, func() error {
		got, err := b.try(t, http.MethodPut, at("entity/x"), []byte("3"), wire.HeaderDeadline, time.Now().Add(time.Hour).Format(time.RFC3339))
		if err != nil || got.status != http.StatusOK {
			return fmt.Errorf("%v %v", got, err)
		}
		return nil
	})
	a.get(t, at("entity/x")).want(http.StatusOK).holds("3")
}

// Promise: a forwarder tells the master until when the caller waits.
func TestStale_ForwarderPassesTheDeadlineOn(t *testing.T) {
	p := newPlane(t)
	var got atomic.Pointer[string]
	p.configure = func(id string, cfg *httpapi.Config) {
		if id == "b" {
			cfg.Transport = func(direct http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					d := r.Header.Get(wire.HeaderDeadline)
					got.Store(&d)
					return direct.RoundTrip(r)
				})
			}
		}
	}
	p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	for _, own := range []time.Duration{0, 10 * time.Second, time.Hour} {
		var header []string
		if own != 0 {
			header = []string{wire.HeaderDeadline, time.Now().Add(own).Format(time.RFC3339Nano)}
		}
		b.put(t, "entity/x", "1", header...)
		at, err := time.Parse(time.RFC3339, *got.Load())
		limit := time.Minute
		if own != 0 {
			limit = min(limit, own)
		}
		if left := time.Until(at); err != nil || left > limit || left < limit-waitLimit {
			t.Errorf("caller waits %s: forwarded with %q, %v", own, *got.Load(), err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Promise: a write that arrives together with the end of its connection is not begun, over TLS
// and through a limited listener as well.
func TestStale_CallerThatHasHungUp(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The server accepts each connection only after the caller has closed it.
	hold := make(chan struct{})
	server := a.api.HTTPServer()
	inner := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-hold
		inner.ServeHTTP(w, r)
	})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(httpapi.LimitListener(l)) })
	const callers = 50
	for i := range callers {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n%03d", at("entity/x"), i)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
}

// A client that hangs up is not logged as an error, whatever it was waiting for.
func TestServer_ClientThatHangsUpIsNotAnError(t *testing.T) {
	p := newPlane(t)
	core, logs := observer.New(zapcore.DebugLevel)
	p.configure = func(_ string, cfg *httpapi.Config) { cfg.Logger = zap.New(core) }
	a := p.lead("a", func(c *coordinator.Config) { c.ColdStandby = true })
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	p.store.Stall("a", true)
	for _, request := range []struct{ method, target, body string }{
		{"GET", wire.PathMementos + "?consistent=true", ""},
		{"GET", at("entity/x") + "?revision=2", ""},
		{"GET", wire.PathMementos + "?min_revision=1000000", ""},
		{"GET", wire.PathHistory, ""},
		{"GET", wire.PathPlane, ""},
		{"GET", wire.PathExport, ""},
		{"GET", wire.PathWatch, ""},
		{"PUT", at("entity/x"), "2"},
		{"DELETE", at("entity/x"), ""},
		{"POST", wire.PathHandover, `{"to":"b"}`},
		{"POST", wire.PathPause, "{}"},
		{"PUT", wire.PathMode, `{"mode":"standby"}`},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, request.method, a.url+request.target, strings.NewReader(request.body))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := a.client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		cancel()
	}
	// A body that breaks off, and a TLS client.
	for _, text := range []string{
		"PUT " + at("entity/x") + " HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12", "PUT " + at("entity/x") + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
		"POST " + wire.PathImport + " HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n12", "\x16\x03\x01", "GET /livez?a;b HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		conn := a.raw(t)
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
	p.store.Stall("a", false)
	a.get(t, wire.PathNode).want(http.StatusOK)
	a.api.Close()
	loud := slices.DeleteFunc(logs.All(), func(e observer.LoggedEntry) bool { return e.Level < zapcore.InfoLevel })
	for _, e := range loud {
		t.Errorf("logged: %s %s %v", e.Level, e.Message, e.ContextMap())
	}
}
