// This file serves watches: a stream of changes for each client.

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// bookmarkInterval is how often a watcher is told how far the watch has come. Otherwise a
	// watcher of one type, or of an idle plane, would not know.
	bookmarkInterval = 10 * time.Second
	// partTimeout is how long a client may take to accept one part of a stream. A slower client
	// is cut off: what it does not accept would have to be kept for it.
	partTimeout = 10 * time.Second
	// replayTimeout limits how long the store is read for a watcher that starts in the past. A
	// watcher that has not caught up by then reconnects and continues from where it is.
	replayTimeout = time.Minute
)

// errWake is the cause of a wait that ends for a bookmark, or to check the caller's
// authorization again.
var errWake = errors.New("time to check")

// getWatch streams changes to a client. All watchers of a node are fed from its mirror, so the
// store has one watch however many there are.
func (s *Server) getWatch(w http.ResponseWriter, r *http.Request) error {
	t, err := s.newWatchStream(w, r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		t.setHeaders()
		return nil
	}
	if err = s.replay(r.Context(), t); err == nil {
		err = s.streamLive(r.Context(), t)
	}
	if !t.started {
		return err
	}
	s.endWatch(r, t, err)
	return nil
}

// watchStream is the watch of one client.
type watchStream struct {
	w       *deadlineWriter
	header  http.Header     // of the answer; set before it starts, so that the view need not be kept
	typ     string          // only changes of this type; empty for all
	at      rebind.Revision // everything up to it was sent
	started bool            // the answer has begun
	gone    bool            // the client does not accept what it is sent
}

// newWatchStream decides where a client's watch starts, or why it cannot.
func (s *Server) newWatchStream(w http.ResponseWriter, r *http.Request) (*watchStream, error) {
	t := &watchStream{w: deadlineWriterOf(w), header: make(http.Header), typ: r.URL.Query().Get("type")}
	t.w.stream(partTimeout)
	t.w.recheck(func() error { return s.authorize(r, credentials.Viewer) })
	if t.typ != "" {
		if err := checkType(t.typ); err != nil {
			return nil, err
		}
	}
	asked, from, err := watchStart(r)
	if err != nil {
		return nil, err
	}
	reading, err := s.node.Read()
	if err != nil {
		return nil, err
	}
	t.at = reading.View.Revision()
	if asked {
		if from > t.at {
			if err := s.waitFuture(r.Context(), from); err != nil {
				return nil, err
			}
		}
		t.at = from
	}
	s.setReadHeaders(t.header, &reading)
	return t, nil
}

// watchStart returns the revision after which a watch starts. Last-Event-ID counts before
// from_revision, because a browser that reconnects sends both.
func watchStart(r *http.Request) (asked bool, from rebind.Revision, err error) {
	query := r.URL.Query()
	from, err = revisionParam(query, "from_revision", 0)
	if err != nil {
		return false, 0, err
	}
	if last := r.Header.Get(wire.HeaderLastEvent); last != "" {
		rev, ok := parseNumber(last)
		if !ok || rev < 0 {
			return false, 0, badRequest("%s %.50q is not a revision", wire.HeaderLastEvent, last)
		}
		return true, rebind.Revision(rev), nil
	}
	return query.Has("from_revision"), from, nil
}

// waitFuture waits until this node's copy has a revision that it does not have yet. If the
// store does not have it either, the store was restored: the client knows another history.
func (s *Server) waitFuture(ctx context.Context, to rebind.Revision) error {
	_, _, err := s.readPast(ctx, to, "", 1)
	switch {
	case errors.Is(err, driver.ErrAhead):
		return fmt.Errorf("%w: the store does not have revision %d yet, so it was restored: read the state again and watch from its revision", wire.ErrGone, to)
	case err != nil:
		return err
	}
	return s.waitRevision(ctx, to, currentTimeout)
}

// replay sends the changes that the mirror no longer keeps and the store still has.
func (s *Server) replay(ctx context.Context, t *watchStream) error {
	limited, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	at, err := s.node.Replay(limited, t.at, t.sendSteps)
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("%w: the changes after revision %d were not sent within %s", wire.ErrBehind, t.at, replayTimeout)
	case errors.Is(err, driver.ErrCompacted):
		return fmt.Errorf("%w: the changes after revision %d are compacted: read the state again and watch from its revision", wire.ErrGone, t.at)
	case err != nil:
		return err
	}
	t.at = at
	return t.start()
}

// streamLive sends changes as they happen until the client is gone or this node can send no
// more, and returns why.
func (s *Server) streamLive(ctx context.Context, t *watchStream) error {
	next := time.Now().Add(bookmarkInterval)
	for {
		if err := t.w.checkAuthorized(); err != nil {
			return err
		}
		if time.Until(next) <= 0 {
			next = time.Now().Add(bookmarkInterval)
			if err := t.sendBookmark(); err != nil {
				return err
			}
		}
		until := next
		if again := time.Now().Add(recheckInterval); again.Before(until) {
			until = again
		}
		wait, cancel := context.WithDeadlineCause(ctx, until, errWake)
		steps, at, err := s.node.Steps(wait, t.at)
		cancel()
		switch {
		case errors.Is(err, errWake):
		case err != nil:
			return err
		default:
			if err := t.sendSteps(steps); err != nil {
				return err
			}
			t.at = at
		}
	}
}

// endWatch tells the client, if it is still there, why its watch ends.
func (s *Server) endWatch(r *http.Request, t *watchStream, err error) {
	if t.gone || r.Context().Err() != nil {
		return
	}
	if errors.Is(err, driver.ErrCompacted) {
		// The client was too slow, or the node loaded its copy again. The store may have more
		// than the mirror: the client's next request is answered from there, or with 410.
		err = fmt.Errorf("%w: this node no longer has the changes after revision %d: watch again from there", wire.ErrGone, t.at)
	}
	p := s.problem(r, err)
	_ = t.send(wire.EventError, 0, p) // if the client is gone by now nothing can be done about it
	_ = t.flush()
}

// setHeaders sets the headers of the answer.
func (t *watchStream) setHeaders() {
	h := t.w.Header()
	maps.Copy(h, t.header)
	h.Set("Content-Type", wire.EventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a buffering proxy would delay events
}

// start begins the answer with a bookmark, unless it has begun.
func (t *watchStream) start() error {
	if t.started {
		return nil
	}
	t.started = true
	t.setHeaders()
	return t.sendBookmark()
}

func (t *watchStream) sendBookmark() error {
	if err := t.send(wire.EventBookmark, t.at, wire.Bookmark{Revision: int64(t.at)}); err != nil {
		return err
	}
	return t.flush()
}

// sendSteps sends the changes of steps that the client wants.
func (t *watchStream) sendSteps(steps []rebind.Changeset) error {
	if err := t.start(); err != nil {
		return err
	}
	for i := range steps {
		if err := t.sendStep(&steps[i]); err != nil {
			return err
		}
	}
	return t.flush()
}

// sendStep sends the changes of one step that the client wants. The event is written as a
// [wire.Step] without being encoded as a whole: one revision may have any number of changes.
func (t *watchStream) sendStep(s *rebind.Changeset) error {
	wanted := func(c *rebind.Change) bool { return t.typ == "" || c.Name.Type() == t.typ }
	if !slices.ContainsFunc(s.Changes, func(c rebind.Change) bool { return wanted(&c) }) {
		return nil
	}
	to := newObjectWriter(t.w)
	to.print("event: %s\nid: %d\ndata: {\"revision\":%d,\"changes\":[", wire.EventChange, s.Revision, s.Revision)
	comma := ""
	for i := range s.Changes {
		if c := &s.Changes[i]; wanted(c) {
			to.print("%s", comma)
			to.object(changeOf(c), c.Memento)
			comma = ","
		}
	}
	to.print("]}\n\n") // compact JSON has no line feed
	return t.checkSent(to.flush())
}

// send writes one event. A client that reconnects sends the last id that is not 0.
func (t *watchStream) send(kind string, id rebind.Revision, data any) error {
	to := newObjectWriter(t.w)
	to.print("event: %s\n", kind)
	if id != 0 {
		to.print("id: %d\n", id)
	}
	to.print("data: ")
	to.object(data, nil)
	to.print("\n\n")
	return t.checkSent(to.flush())
}

// flush sends the client what was written.
func (t *watchStream) flush() error { return t.checkSent(t.w.flush()) }

// checkSent records a failure to send to the client.
func (t *watchStream) checkSent(err error) error {
	switch {
	case err == nil, errors.Is(err, errRevoked):
		return err
	default:
		t.gone = true
		return fmt.Errorf("client does not read what it is sent: %w", err)
	}
}

// changeOf converts a change without its payload.
func changeOf(c *rebind.Change) wire.Change {
	change := wire.Change{Op: "put", Type: c.Name.Type(), ID: c.Name.ID(), ModRevision: int64(c.Revision), Fault: c.Fault}
	m := c.Memento
	switch {
	case m != nil:
		change.Item = &wire.Item{
			Parent: string(m.Parent), ContentType: m.ContentType, Schema: m.Schema,
			CreateRevision: int64(m.Created), Version: m.Version, Size: len(m.Payload),
		}
	case c.Fault == "":
		change.Op = "delete"
	}
	return change
}
