// This file reads one memento, and makes sure that a read is as current as the client asks.

package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// currentTimeout is how long a read waits until the node's copy is as current as it has to be.
const currentTimeout = 5 * time.Second

// readOptions say which state a read has to see. The zero value accepts whatever this node has.
type readOptions struct {
	minRevision  rebind.Revision // 0 if any will do
	maxStaleness *time.Duration  // nil if any will do
	consistent   bool            // the store's present state, as of a moment after the request came
	revision     rebind.Revision // a past revision; 0 for the current state
}

// parseReadOptions reads the query parameters that all reads share.
func parseReadOptions(v url.Values) (opts readOptions, err error) {
	if opts.minRevision, err = revisionParam(v, "min_revision", 0); err != nil {
		return opts, err
	}
	if opts.revision, err = revisionParam(v, "revision", 1); err != nil {
		return opts, err
	}
	if opts.consistent, err = boolParam(v, "consistent"); err != nil {
		return opts, err
	}
	if given := v.Get("max_staleness"); v.Has("max_staleness") {
		limit, err := time.ParseDuration(given)
		if err != nil || limit < 0 {
			return opts, badRequest("max_staleness %.50q: use a time such as 500ms or 2s", given)
		}
		opts.maxStaleness = &limit
	}
	if opts.revision != 0 && (opts.minRevision != 0 || opts.maxStaleness != nil || opts.consistent) {
		return opts, badRequest("revision reads the past, which does not get newer: leave out min_revision, max_staleness and consistent")
	}
	return opts, nil
}

// read returns this node's state once it is as current as the options ask.
//
// A master whose lease is valid is never stale, because no other node can have written, so
// max_staleness costs it nothing. It may still lag behind what other nodes show, see
// [coordinator.Node.Confirm], so for consistent a master asks the store as well.
func (s *Server) read(r *http.Request, opts readOptions) (coordinator.Reading, error) {
	if opts.minRevision != 0 {
		if err := s.waitRevision(r.Context(), opts.minRevision, currentTimeout); err != nil {
			return coordinator.Reading{}, err
		}
	}
	if opts.consistent {
		if err := s.confirm(r.Context()); err != nil {
			return coordinator.Reading{}, err
		}
	}
	reading, err := s.node.Read()
	if err != nil || opts.consistent || opts.maxStaleness == nil || reading.Staleness <= *opts.maxStaleness {
		return reading, err
	}
	// A copy that was confirmed during this request is current enough for any limit.
	if err := s.confirm(r.Context()); err != nil {
		return coordinator.Reading{}, fmt.Errorf("the copy is %s old: %w", reading.Staleness.Round(time.Millisecond), err)
	}
	return s.node.Read()
}

// waitRevision waits until this node's copy has a revision.
func (s *Server) waitRevision(ctx context.Context, to rebind.Revision, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.node.WaitRevision(ctx, to)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: revision %d", wire.ErrBehind, to)
	}
	return err
}

// confirm waits until this node's copy is known to be current.
func (s *Server) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, currentTimeout)
	defer cancel()
	_, err := s.confirms.do(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.node.Confirm(ctx) })
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: the store's current revision: %w", wire.ErrBehind, err)
	}
	return err
}

// setReadHeaders sets the headers that tell which revision an answer shows, and how current it
// is.
func (s *Server) setReadHeaders(h http.Header, reading *coordinator.Reading) {
	s.setHeaders(h, reading, reading.View.Revision(), reading.Staleness)
}

// setPastHeaders does so for a past revision, which never becomes stale.
func (s *Server) setPastHeaders(h http.Header, reading *coordinator.Reading, at rebind.Revision) {
	s.setHeaders(h, reading, at, 0)
}

func (s *Server) setHeaders(h http.Header, reading *coordinator.Reading, at rebind.Revision, stale time.Duration) {
	h.Set(wire.HeaderRevision, strconv.FormatInt(int64(at), 10))
	h.Set(wire.HeaderStaleness, strconv.FormatInt(stale.Milliseconds(), 10))
	h.Set(wire.HeaderTerm, strconv.FormatInt(reading.Term, 10))
}

func (s *Server) getMemento(w http.ResponseWriter, r *http.Request) error {
	opts, err := parseReadOptions(r.URL.Query())
	if err != nil {
		return err
	}
	conditions, err := parseReadConditions(r)
	if err != nil {
		return err
	}
	// A read of the past is served only in states that serve reads.
	reading, err := s.read(r, opts)
	if err != nil {
		return err
	}
	name := nameFromPath(r)
	var m *rebind.Memento
	if opts.revision != 0 {
		if err := deadlineWriterOf(w).reserve(r.Context(), s.answers, int64(s.cfg.MaxPayload)); err != nil {
			return err
		}
		past := s.pastReader(r.Context(), opts.revision)
		m, err = past.get(name)
		if past.err != nil {
			return past.err
		}
		s.setPastHeaders(w.Header(), &reading, opts.revision)
	} else {
		m, err = reading.View.Get(name)
		s.setReadHeaders(w.Header(), &reading)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	same, err := conditions.check(m)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if opts.revision == 0 && len(m.Payload) > smallSize {
		if err := s.pinView(r.Context(), w, 1, reading.View); err != nil {
			return err
		}
	}
	writeMemento(w, m, same)
	return nil
}

// writeMemento answers with a memento's payload, or with 304 if the client has it already.
func writeMemento(w http.ResponseWriter, m *rebind.Memento, same bool) {
	h := w.Header()
	h.Set("ETag", etag(m.Modified))
	h.Set("Cache-Control", "no-store")
	if m.Parent != "" {
		h.Set(wire.HeaderParent, string(m.Parent))
	}
	h.Set(wire.HeaderSchema, strconv.FormatInt(m.Schema, 10))
	if same {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", m.ContentType)
	if m.ContentType == "" {
		h.Set("Content-Type", defaultContentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(m.Payload)))
	_, _ = w.Write(m.Payload) // the client may be gone; nothing can be done about it
}
