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

// reachTimeout is how long a read waits to be as current as it was asked to be.
const reachTimeout = 5 * time.Second

// wants is which state a read is to be of. The zero value is what this node has.
type wants struct {
	atLeast rebind.Revision // min_revision
	within  *time.Duration  // max_staleness; nil: whatever it is
	present bool            // consistent
	past    rebind.Revision // revision; 0: not of the past
}

// parseWants reads the parameters that all reads of mementos take.
func parseWants(v url.Values) (w wants, err error) {
	if w.atLeast, err = revisionIn(v, "min_revision", 0); err != nil {
		return w, err
	}
	if w.past, err = revisionIn(v, "revision", 1); err != nil {
		return w, err
	}
	if w.present, err = boolIn(v, "consistent"); err != nil {
		return w, err
	}
	if given := v.Get("max_staleness"); v.Has("max_staleness") {
		limit, err := time.ParseDuration(given)
		if err != nil || limit < 0 {
			return w, badRequest("max_staleness %.50q: use a time such as 500ms or 2s", given)
		}
		w.within = &limit
	}
	if w.past != 0 && (w.atLeast != 0 || w.within != nil || w.present) {
		return w, badRequest("revision reads the past, which gets no newer: leave min_revision, max_staleness and consistent out")
	}
	return w, nil
}

// read returns the state as the request wants it, after waiting for it if need be.
//
// A master within its deadline is never stale, since nobody else can have written:
// max_staleness costs it nothing. That does not make it consistent with what others
// show, see [coordinator.Node.Confirm], so consistent asks the store there too.
func (s *Server) read(r *http.Request, w wants) (coordinator.Reading, error) {
	if w.atLeast != 0 {
		if err := s.reach(r.Context(), w.atLeast, reachTimeout); err != nil {
			return coordinator.Reading{}, err
		}
	}
	if w.present {
		if err := s.confirm(r.Context()); err != nil {
			return coordinator.Reading{}, err
		}
	}
	reading, err := s.node.Read()
	if err != nil || w.present || w.within == nil || reading.Staleness <= *w.within {
		return reading, err
	}
	// What was confirmed for this request is current enough, whatever it asks.
	if err := s.confirm(r.Context()); err != nil {
		return coordinator.Reading{}, fmt.Errorf("copy is %s old: %w", reading.Staleness.Round(time.Millisecond), err)
	}
	return s.node.Read()
}

// reach waits for this node's copy to come to a revision.
func (s *Server) reach(ctx context.Context, to rebind.Revision, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.node.WaitRevision(ctx, to)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: revision %d", wire.ErrBehind, to)
	}
	return err
}

// confirm sees that this node's copy is current.
func (s *Server) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	_, err := s.confirms.get(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.node.Confirm(ctx) })
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: the store's present one: %w", wire.ErrBehind, err)
	}
	return err
}

// describe sets the headers that tell what an answer shows, and how current that is.
func (s *Server) describe(h http.Header, reading *coordinator.Reading) {
	s.describeAt(h, reading, reading.View.Revision(), reading.Staleness)
}

// describePast is describe for what was read from the store. It was so at that
// revision and stays it, so it is not stale.
func (s *Server) describePast(h http.Header, reading *coordinator.Reading, at rebind.Revision) {
	s.describeAt(h, reading, at, 0)
}

func (s *Server) describeAt(h http.Header, reading *coordinator.Reading, at rebind.Revision, stale time.Duration) {
	h.Set(wire.HeaderRevision, strconv.FormatInt(int64(at), 10))
	h.Set(wire.HeaderStaleness, strconv.FormatInt(stale.Milliseconds(), 10))
	h.Set(wire.HeaderTerm, strconv.FormatInt(reading.Term, 10))
}

func (s *Server) getMemento(w http.ResponseWriter, r *http.Request) error {
	want, err := parseWants(r.URL.Query())
	if err != nil {
		return err
	}
	conditions, err := readConditions(r)
	if err != nil {
		return err
	}
	// This node's state tells whether it serves reads, those of the past too.
	reading, err := s.read(r, want)
	if err != nil {
		return err
	}
	name := nameIn(r)
	var m *rebind.Memento
	if want.past != 0 {
		if err := patientOf(w).keep(r.Context(), s.answers, int64(s.cfg.MaxPayload)); err != nil {
			return err
		}
		old := s.pastAt(r.Context(), want.past)
		m, err = old.get(name)
		if old.err != nil {
			return old.err
		}
		s.describePast(w.Header(), &reading, want.past)
	} else {
		m, err = reading.View.Get(name)
		s.describe(w.Header(), &reading)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	same, err := conditions.check(m)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if want.past == 0 && len(m.Payload) > smallBytes {
		if err := s.pin(r.Context(), w, 1, reading.View); err != nil {
			return err
		}
	}
	writeMemento(w, m, same)
	return nil
}

// writeMemento answers with a memento's payload as it is stored, or without it for a
// client that has it already.
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
	_, _ = w.Write(m.Payload) // a client that is gone is told nothing
}
