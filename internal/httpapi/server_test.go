// This file tests what all answers have in common.

package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestServer_RefusesWhatItHasNoRouteFor(t *testing.T) {
	a := newPlane(t).lead("a")
	for name, c := range map[string]struct {
		method, target string
		status         int
		kind, allow    string
	}{
		"an unknown path":                  {"GET", "/v2/node", 404, wire.KindNotFound, ""},
		"the root":                         {"GET", "/", 404, wire.KindNotFound, ""},
		"a path below a known one":         {"GET", "/v1/node/mode/x", 404, wire.KindNotFound, ""},
		"an encoded slash for a slash":     {"GET", "/v1%2fnode", 404, wire.KindNotFound, ""},
		"a method that reads only":         {"POST", wire.PathNode, 405, wire.KindMethod, "GET, HEAD"},
		"a method that writes only":        {"GET", wire.PathMode, 405, wire.KindMethod, "PUT"},
		"reading a batch":                  {"GET", wire.PathBatch, 405, wire.KindMethod, "POST"},
		"writing all mementos":             {"DELETE", wire.PathMementos, 405, wire.KindMethod, "GET, HEAD"},
		"a method mementos do not take":    {"PATCH", at("entity/x"), 405, wire.KindMethod, "DELETE, GET, HEAD, PUT"},
		"a method nobody has heard of":     {"BREW", wire.PathPlane, 405, wire.KindMethod, "GET, HEAD"},
		"a path that ends with a slash":    {"GET", "/v1/node/", 400, wire.KindBadRequest, ""},
		"a path with an empty part":        {"GET", "/v1//node", 400, wire.KindBadRequest, ""},
		"a path that begins with one":      {"GET", "//v1/node", 400, wire.KindBadRequest, ""},
		"a path that goes up":              {"GET", "/v1/plane/../node", 400, wire.KindBadRequest, ""},
		"a path that stays":                {"GET", "/v1/./node", 400, wire.KindBadRequest, ""},
		"a memento without an id":          {"GET", at("entity"), 400, wire.KindBadRequest, ""},
		"a method on a memento's bad name": {"PATCH", at("entity/.."), 400, wire.KindBadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a.do(t, c.method, c.target, nil).refused(c.status, c.kind).has("Allow", c.allow).has("Location", "")
		})
	}
}

// Promise: a request with no such path is answered by the API as well, and names the node.
func TestServer_AnswersWhatHasNoPath(t *testing.T) {
	a := newPlane(t).lead("a")
	for _, line := range []string{"OPTIONS * HTTP/1.1", "CONNECT localhost:1 HTTP/1.1"} {
		if got := a.verbatim(t, line+"\r\nHost: localhost\r\nConnection: close\r\n\r\n"); got != http.StatusBadRequest {
			t.Errorf("%s: %d", line, got)
		}
	}
}

func TestServer_ShowsItsDocument(t *testing.T) {
	// A node that is still initializing answers as well.
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Cut("a")
		a := p.start("a", modes.Auto)
		a.get(t, wire.PathOpenAPI).want(http.StatusOK).
			has("Content-Type", "application/json").holds(string(httpapi.Document()))
	})
}

func TestServer_AnswersHeadAsGet(t *testing.T) {
	a := newPlane(t).lead("a")
	created := a.put(t, "entity/x", "payload", "Content-Type", "text/plain").want(http.StatusCreated)
	a.do(t, http.MethodHead, at("entity/x"), nil).want(http.StatusOK).holds("").
		has("ETag", created.header.Get("ETag")).has("Content-Length", "7").has("Content-Type", "text/plain")
	a.do(t, http.MethodHead, at("entity/y"), nil).want(http.StatusNotFound)
	a.do(t, http.MethodHead, wire.PathReady, nil).want(http.StatusOK)
}

func TestServer_PanicIsAnAnswer(t *testing.T) {
	api := httpapi.New(httpapi.Config{Node: bareNode{}}) // most methods of the node panic
	defer api.Close()
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "http://localhost"+wire.PathHistory, nil)
	api.ServeHTTP(rec, req)
	a := &answer{t: t, what: "a request that panics", status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	a.refused(http.StatusInternalServerError, wire.KindInternal)
	in := &openapi3filter.RequestValidationInput{Request: req, Route: readTheContract(t).shared("Internal")}
	if err := checkAnswer(in, a, false); err != nil {
		t.Error(err)
	}
}

func TestServer_ShowsMetricsWhereThereAreSome(t *testing.T) {
	a := newPlane(t).lead("a")
	a.get(t, wire.PathMetrics).refused(http.StatusNotFound, wire.KindNotFound)
	api := httpapi.New(httpapi.Config{Node: a.Node, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	})})
	defer api.Close()
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://localhost"+wire.PathMetrics, nil))
	if rec.Code != http.StatusAccepted {
		t.Errorf("status = %d, want that of the metrics", rec.Code)
	}
}
