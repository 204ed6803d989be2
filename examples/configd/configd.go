package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Headers of answers.
const (
	HeaderRevision = "Config-Revision" // of the whole configuration that was read
	HeaderAge      = "Config-Age"      // the answer is no older than this
)

// defaultMaxAge is how old an answer may be, if the reader does not say.
const defaultMaxAge = 5 * time.Second

// confirmTimeout is how long a read waits for the store to confirm a copy that is too old.
const confirmTimeout = time.Second

// maxValue limits a value, in bytes.
const maxValue = 64 << 10

// Setting is one value of the configuration, as it is stored.
type Setting struct {
	Value   string
	Changed time.Time
}

var settings = rebind.JSON[Setting]("setting")

// Service serves the configuration from the copy of one node.
type Service struct{ Node *coordinator.Node }

// ServeHTTP answers GET and PUT of /config/KEY.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /config/{key}", s.get)
	mux.HandleFunc("PUT /config/{key}", s.put)
	mux.ServeHTTP(w, r)
}

// get answers from this node's copy, if that is young enough or the store confirms it. With
// ?max_age=0s each read is confirmed: it shows every write that was answered before it began.
func (s *Service) get(w http.ResponseWriter, r *http.Request) {
	bound := defaultMaxAge
	if text := r.URL.Query().Get("max_age"); text != "" {
		var err error
		if bound, err = time.ParseDuration(text); err != nil || bound < 0 {
			http.Error(w, "max_age: use a duration such as 2s", http.StatusBadRequest)
			return
		}
	}
	view, age, err := s.read(r.Context(), bound)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	found, err := settings.Get(view, r.PathValue("key"))
	switch {
	case errors.Is(err, rebind.ErrNotFound):
		http.Error(w, "no such setting", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set(HeaderRevision, fmt.Sprint(view.Revision()))
		w.Header().Set(HeaderAge, age.String())
		_, _ = io.WriteString(w, found.Value.Value) // an error is the reader's
	}
}

// read returns a view that is no older than the bound, and how old it is at most.
func (s *Service) read(ctx context.Context, bound time.Duration) (*rebind.View, time.Duration, error) {
	now, err := s.Node.Read()
	if err != nil {
		return nil, 0, err
	}
	if now.Staleness <= bound && bound > 0 {
		return now.View, now.Staleness, nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := s.Node.Confirm(ctx); err != nil {
		return nil, 0, fmt.Errorf("this copy is %s old and cannot be confirmed: %w", now.Staleness.Round(time.Millisecond), err)
	}
	if now, err = s.Node.Read(); err != nil {
		return nil, 0, err
	}
	return now.View, time.Since(began), nil // current as of a moment after the call of Confirm
}

// put stores a value at the master, and sends the caller of another node there.
func (s *Service) put(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	receipt, err := settings.Put(r.Context(), s.Node, r.PathValue("key"), Setting{string(text), time.Now().UTC()})
	var elsewhere *coordinator.MasterError
	switch {
	case err == nil:
		w.Header().Set(HeaderRevision, fmt.Sprint(receipt.Revision))
	case errors.As(err, &elsewhere) && elsewhere.URI != "":
		http.Redirect(w, r, elsewhere.URI+r.URL.Path, http.StatusTemporaryRedirect)
	case errors.Is(err, rebind.ErrUnknown):
		http.Error(w, err.Error(), http.StatusGatewayTimeout) // it may be stored: read it
	case errors.Is(err, rebind.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}
