package httpapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// bookmarkEvery is how often a watcher is told how far it is, whatever happens: who
	// asks for one type only, or watches an idle plane, would not know otherwise.
	bookmarkEvery = 10 * time.Second
	// takeWithin is how long a client may take over one write to it. A slower one is
	// cut off: what it does not take would have to be kept for it.
	takeWithin = 10 * time.Second
	// replayWithin bounds what the store is asked for those who come from the past. Who
	// has not caught up by then reconnects, and goes on from where it is.
	replayWithin = time.Minute
)

// errAwake is the cause of a wait that ends for a bookmark, or for another look at the
// caller's token.
var errAwake = errors.New("time to look around")

// getWatch tells a client of changes for as long as both are there. All watchers of a
// node are fed from its mirror, so the store has one watch, however many they are.
func (s *Server) getWatch(w http.ResponseWriter, r *http.Request) error {
	t, err := s.watcher(w, r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		t.head()
		return nil
	}
	if err = s.replay(r.Context(), t); err == nil {
		err = s.follow(r.Context(), t)
	}
	if !t.open {
		return err
	}
	s.endWatch(r, t, err)
	return nil
}

// watcher is one client of a watch.
type watcher struct {
	w      *patient
	header http.Header     // of the answer; the view it tells of is not kept
	typ    string          // only what is of this type; empty for all
	at     rebind.Revision // everything up to it was told
	open   bool            // the answer has begun
	gone   bool            // the client does not take what it is sent
}

// watcher tells where a client's watch begins, or why it cannot.
func (s *Server) watcher(w http.ResponseWriter, r *http.Request) (*watcher, error) {
	t := &watcher{w: patientOf(w), header: make(http.Header), typ: r.URL.Query().Get("type")}
	t.w.stream(takeWithin)
	t.w.askAgain(func() error { return s.allow(r, credentials.Viewer) })
	if t.typ != "" {
		if err := rebind.CheckType(t.typ); err != nil {
			return nil, err
		}
	}
	asked, from, err := watchFrom(r)
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
			if err := s.awaitRevision(r.Context(), from); err != nil {
				return nil, err
			}
		}
		t.at = from
	}
	s.describe(t.header, &reading)
	return t, nil
}

// watchFrom reads the revision after which a client wants to be told. What it has seen
// last counts before what it asked for when it first came, as a browser that reconnects
// sends both.
func watchFrom(r *http.Request) (asked bool, from rebind.Revision, err error) {
	query := r.URL.Query()
	from, err = revisionIn(query, "from_revision", 0)
	if err != nil {
		return false, 0, err
	}
	if last := r.Header.Get(wire.HeaderLastEvent); last != "" {
		rev, ok := number(last)
		if !ok || rev < 0 {
			return false, 0, badRequest("%s %.50q is not a revision", wire.HeaderLastEvent, last)
		}
		return true, rebind.Revision(rev), nil
	}
	return query.Has("from_revision"), from, nil
}

// awaitRevision waits for this node's copy to come to a revision, unless the store does
// not have it: then it was restored, and whoever knows that revision knows another
// history.
func (s *Server) awaitRevision(ctx context.Context, to rebind.Revision) error {
	_, _, err := s.readPast(ctx, to, "", 1)
	switch {
	case errors.Is(err, rebind.ErrAhead):
		return fmt.Errorf("%w: the store has not come to revision %d, it was restored: read the state anew and watch from its revision", wire.ErrGone, to)
	case err != nil:
		return err
	}
	return s.reach(ctx, to, reachTimeout)
}

// replay tells what the mirror no longer keeps and the store still does.
func (s *Server) replay(ctx context.Context, t *watcher) error {
	limited, cancel := context.WithTimeout(ctx, replayWithin)
	defer cancel()
	at, err := s.node.Replay(limited, t.at, t.tell)
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("%w: what happened after revision %d was not told within %s", wire.ErrBehind, t.at, replayWithin)
	case errors.Is(err, rebind.ErrCompacted):
		return fmt.Errorf("%w: what happened after revision %d is compacted: read the state anew and watch from its revision", wire.ErrGone, t.at)
	case err != nil:
		return err
	}
	t.at = at
	return t.begin()
}

// follow tells what happens, until the client is gone or this node has nothing more to
// tell; it returns why.
func (s *Server) follow(ctx context.Context, t *watcher) error {
	next := time.Now().Add(bookmarkEvery)
	for {
		if err := t.w.still(); err != nil {
			return err
		}
		if time.Until(next) <= 0 {
			next = time.Now().Add(bookmarkEvery)
			if err := t.bookmark(); err != nil {
				return err
			}
		}
		until := next
		if again := time.Now().Add(askEvery); again.Before(until) {
			until = again
		}
		wait, cancel := context.WithDeadlineCause(ctx, until, errAwake)
		steps, at, err := s.node.Steps(wait, t.at)
		cancel()
		switch {
		case errors.Is(err, errAwake):
		case err != nil:
			return err
		default:
			if err := t.tell(steps); err != nil {
				return err
			}
			t.at = at
		}
	}
}

// endWatch tells a client that is still there why its watch ends.
func (s *Server) endWatch(r *http.Request, t *watcher, err error) {
	if t.gone || r.Context().Err() != nil {
		return
	}
	if errors.Is(err, rebind.ErrCompacted) {
		// Too slow, or the node has loaded its copy anew. The store may know more than
		// the mirror keeps: the client's next request is answered from there, or by 410.
		err = fmt.Errorf("%w: this node does not keep what happened after revision %d: watch again from there", wire.ErrGone, t.at)
	}
	p := s.problem(r, err)
	_ = t.send(wire.EventError, 0, p) // and if it is gone now, it is told nothing
	_ = t.flush()
}

// head sets the headers of the answer.
func (t *watcher) head() {
	h := t.w.Header()
	maps.Copy(h, t.header)
	h.Set("Content-Type", wire.EventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects what it passes on would delay it
}

// begin begins the answer, if it has not begun, with a bookmark.
func (t *watcher) begin() error {
	if t.open {
		return nil
	}
	t.open = true
	t.head()
	return t.bookmark()
}

func (t *watcher) bookmark() error {
	if err := t.send(wire.EventBookmark, t.at, wire.Bookmark{Revision: int64(t.at)}); err != nil {
		return err
	}
	return t.flush()
}

// tell sends what the client wants of steps.
func (t *watcher) tell(steps []rebind.Step) error {
	if err := t.begin(); err != nil {
		return err
	}
	for i := range steps {
		if err := t.change(&steps[i]); err != nil {
			return err
		}
	}
	return t.flush()
}

// change sends what the client wants of a step: a [wire.Step] that is made as it is
// written, since there is no limit to what may happen at one revision.
func (t *watcher) change(s *rebind.Step) error {
	wanted := func(c *rebind.Change) bool { return t.typ == "" || c.Name.Type() == t.typ }
	if !slices.ContainsFunc(s.Changes, func(c rebind.Change) bool { return wanted(&c) }) {
		return nil
	}
	to := objectsTo(t.w)
	to.print("event: %s\nid: %d\ndata: {\"revision\":%d,\"changes\":[", wire.EventChange, s.Revision, s.Revision)
	comma := ""
	for i := range s.Changes {
		if c := &s.Changes[i]; wanted(c) {
			to.print("%s", comma)
			to.object(changeOf(c), c.Memento)
			comma = ","
		}
	}
	to.print("]}\n\n") // JSON has no line feed in it
	return t.took(to.flush())
}

// send writes one event. Its id, if it is not 0, is what the client comes back with.
func (t *watcher) send(kind string, id rebind.Revision, data any) error {
	to := objectsTo(t.w)
	to.print("event: %s\n", kind)
	if id != 0 {
		to.print("id: %d\n", id)
	}
	to.print("data: ")
	to.object(data, nil)
	to.print("\n\n")
	return t.took(to.flush())
}

// flush has the client get what was written.
func (t *watcher) flush() error { return t.took(t.w.flush()) }

// took notes whether the client has taken what was written.
func (t *watcher) took(err error) error {
	switch {
	case err == nil, errors.Is(err, errNoLonger):
		return err
	default:
		t.gone = true
		return fmt.Errorf("client does not take what it is sent: %w", err)
	}
}

// changeOf is a change without its payload.
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
