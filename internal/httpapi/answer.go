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

// This file writes answers that are small: JSON bodies and problems.

// routeError is the error for what the mux has no handler of ours for: its own one
// knows which methods a path would take.
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

// statusProbe takes an answer for its status and headers.
type statusProbe struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (p *statusProbe) Header() http.Header { return p.header }

// WriteHeader keeps the status.
func (p *statusProbe) WriteHeader(status int) { p.status = status }

// Write drops the body.
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }

// fail answers with the problem that err is.
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

// problem is the problem that err is. What is nobody's fault but this node's is logged; a
// client that has hung up is not that, whatever was going on for it.
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

// writeJSON is for what is small: it is in memory as a whole.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	writeBody(w, status, contentType, encodeJSON(v))
}

// encodeJSON is v as JSON.
func encodeJSON(v any) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // payloads are to come as they are, and not six times as large
	encode(enc, v)
	return body.Bytes()
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone is told nothing
}

func encode(enc *json.Encoder, v any) {
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", v, err)) // all our types encode
	}
}
