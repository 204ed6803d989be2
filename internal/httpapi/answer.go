// This file writes small answers: JSON bodies and problems.

package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// routeError returns the error for a request that no route matches. The mux's own handler h
// knows which methods the path would allow.
func routeError(w http.ResponseWriter, r *http.Request, h http.Handler) error {
	probe := &statusProbe{header: make(http.Header)}
	h.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return wire.NewProblem(http.StatusNotFound, wire.KindNotFound, fmt.Sprintf("no such path: %.100q; see %s", r.URL.Path, wire.PathOpenAPI))
	}
	allow := probe.header.Get("Allow")
	w.Header().Set("Allow", allow)
	return wire.NewProblem(http.StatusMethodNotAllowed, wire.KindMethod, fmt.Sprintf("%s is not allowed here, use %s", r.Method, allow))
}

// statusProbe is a [http.ResponseWriter] that keeps only the status and the headers.
type statusProbe struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (p *statusProbe) Header() http.Header { return p.header }

// WriteHeader records the status.
func (p *statusProbe) WriteHeader(status int) { p.status = status }

// Write discards the body.
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }

// fail answers with the problem for err.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r, err)
	switch p.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", wire.RetryAfter)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="coordinator"`)
	}
	writeJSON(w, p.Status, wire.ProblemType, p)
}

// problem returns the problem for err. Internal errors are logged as errors, unless the client
// has hung up: then anything may have failed because of that.
func (s *Server) problem(r *http.Request, err error) *wire.Problem {
	p := wire.ProblemOf(err)
	if p.Status != http.StatusInternalServerError {
		return p
	}
	told := []zap.Field{zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err)}
	if r.Context().Err() != nil {
		s.log.Debug("client has hung up", told...)
		return wire.ProblemOf(fmt.Errorf("%w: the caller has hung up: %w", rebind.ErrUnknown, err))
	}
	s.log.Error("request failed", told...)
	return p
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	writeJSON(w, status, "application/json", v)
	return nil
}

// writeJSON answers with v as JSON. It holds the whole body in memory, so it is for small
// answers.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	writeBody(w, status, contentType, encodeJSON(v))
}

// encodeJSON returns v as JSON.
func encodeJSON(v any) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // payloads are sent as they are; escaped they could be six times as large
	encode(enc, v)
	return body.Bytes()
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; nothing can be done about it
}

func encode(enc *json.Encoder, v any) {
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", v, err)) // all our types can be encoded
	}
}
