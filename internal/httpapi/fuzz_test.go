// This file sends arbitrary requests.

package httpapi_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// The headers and methods that requests are made of.
var (
	fuzzedHeaders = []string{
		"If-Match", "If-None-Match", "Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "Expect", "Range", "Origin", "Authorization",
		wire.HeaderForward, wire.HeaderParent, wire.HeaderSchema, wire.HeaderKey, wire.HeaderLastEvent, wire.HeaderRevision,
	}
	fuzzedMethods = []string{"GET", "PUT", "DELETE", "POST", "HEAD", "PATCH", "OPTIONS", "get", "TRACE"}
)

// keepsLeading reports whether a request can only change mementos. Other requests may make the
// node refuse what follows.
func keepsLeading(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasPrefix(r.URL.Path, wire.PathMementos) || r.URL.Path == wire.PathImport
}

// Promise: every answer is as documented and never a 5xx, which would blame the node for its
// client's mistake, and everything that is stored has a valid name.
func FuzzRequest(f *testing.F) {
	p := &plane{t: f, store: memstore.New(ttl), bubble: true}
	f.Cleanup(p.store.Close)
	n := p.start("a", modes.Auto, func(c *coordinator.Config) { c.Logger = zap.NewNop() })
	n.await(f, modes.StateMaster)
	add := func(method uint8, target string, header uint8, value, body string) {
		f.Add(method, target, header, value, []byte(body))
	}
	add(1, wire.PathMementos+"/entity/x", 2, "application/json", `{"a":1}`)
	add(1, wire.PathMementos+"/entity/..%2f..%2fmeta", 0, `"1"`, "x")
	add(1, wire.PathMementos+"/entity/x", 12, "9223372036854775808", "x")
	add(1, wire.PathMementos+"/entity/x", 13, "\x7f", "x")
	add(2, wire.PathMementos+"/entity/x", 0, `W/"1", *`, "")
	add(0, wire.PathMementos+"?limit=-1&after=%00&values=maybe&revision=1e9", 4, "text/html;q=x", "")
	add(0, wire.PathMementos+"/entity/x?revision=99999999999999999999&consistent=true", 7, "bytes=0-0,-1", "")
	add(3, wire.PathBatch, 2, "application/json", `{"operations":[{"op":"put","type":"entity","id":"x","data_base64":"eA=="}]}`)
	add(3, wire.PathImport+"?dry_run=true", 2, wire.Archive, "coordinator-archive/1 {}\nend {}\n")
	add(0, wire.PathWatch+"?from_revision=-1&type=%2e%2e", 14, "-1", "")
	add(0, wire.PathRole+"writable?verbose=1", 4, "*/*", "")
	add(0, "//v1//node/../mementos/./entity/x", 9, "Bearer  ", "")
	add(0, "*", 5, "gzip", "")
	document, err := theContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method uint8, target string, header uint8, value string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // a watch does not end
		defer cancel()
		how := fuzzedMethods[int(method)%len(fuzzedMethods)]
		if how != http.MethodPut && how != http.MethodPost {
			body = nil // it is not read
		}
		req, err := http.NewRequestWithContext(ctx, how, "http://a"+target, bytes.NewReader(body))
		if err != nil || !keepsLeading(req) || req.URL.Host != "a" {
			return
		}
		req.Header.Set(fuzzedHeaders[int(header)%len(fuzzedHeaders)], value)
		req.RemoteAddr, req.RequestURI = "127.0.0.1:1", req.URL.RequestURI()
		rec := httptest.NewRecorder()
		n.api.ServeHTTP(rec, req)
		a := &answer{t: t, what: req.Method + " " + target, status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
		if req.Method == http.MethodHead {
			a.body = nil // net/http suppresses it
		}
		if ctx.Err() != nil {
			return // cut off: the answer is incomplete
		}
		asked := strings.HasPrefix(req.URL.Path, wire.PathRole) // a role that the node may not have
		if a.status >= http.StatusInternalServerError && !asked {
			t.Errorf("%s: status %d: %s", a.what, a.status, a.body)
		}
		if err := document.check(req, body, a); err != nil {
			t.Errorf("%s: answer %d is not as documented: %v\n%.2000s", a.what, a.status, err, a.body)
		}
		reading, err := n.Read()
		if err != nil {
			t.Fatal(err)
		}
		for m := range reading.View.From("") {
			if err := rebind.Name(m.Name).Check(); err != nil {
				t.Fatalf("%s: stored as %v", a.what, err)
			}
		}
	})
}
