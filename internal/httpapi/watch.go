package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

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

// errBookmark is the cause of a wait that ends for a bookmark.
var errBookmark = errors.New("time for a bookmark")

// getWatch tells a client of changes for as long as both are there. All watchers of a
// node are fed from its mirror, so the store has one watch, however many they are.
func (s *Server) getWatch(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.watches.take()
	if err != nil {
		return err
	}
	defer leave()
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
	w       http.ResponseWriter
	control *http.ResponseController
	header  http.Header     // of the answer; the view it tells of is not kept
	typ     string          // only what is of this type; empty for all
	at      rebind.Revision // everything up to it was told
	open    bool            // the answer has begun
	gone    bool            // the client does not take what it is sent
}

// watcher tells where a client's watch begins, or why it cannot.
func (s *Server) watcher(w http.ResponseWriter, r *http.Request) (*watcher, error) {
	t := &watcher{w: w, control: http.NewResponseController(w), header: make(http.Header), typ: r.URL.Query().Get("type")}
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
			return false, 0, fmt.Errorf("%w: %s %.50q is not a revision", rebind.ErrInvalid, wire.HeaderLastEvent, last)
		}
		return true, rebind.Revision(rev), nil
	}
	return query.Has("from_revision"), from, nil
}

// awaitRevision waits for this node's copy to come to a revision, unless the store does
// not have it: then it was restored, and whoever knows that revision knows another
// history.
func (s *Server) awaitRevision(ctx context.Context, to rebind.Revision) error {
	_, _, err := s.node.Past(ctx, to, "", 1)
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
		if time.Until(next) <= 0 {
			next = time.Now().Add(bookmarkEvery)
			if err := t.bookmark(); err != nil {
				return err
			}
		}
		wait, cancel := context.WithDeadlineCause(ctx, next, errBookmark)
		steps, at, err := s.node.Steps(wait, t.at)
		cancel()
		switch {
		case errors.Is(err, errBookmark):
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
	p := wire.ProblemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.log.Error("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
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
		step := stepOf(&steps[i], t.typ)
		if len(step.Changes) == 0 {
			continue
		}
		if err := t.send(wire.EventChange, steps[i].Revision, step); err != nil {
			return err
		}
	}
	return t.flush()
}

// send writes one event. Its id, if it is not 0, is what the client comes back with.
func (t *watcher) send(kind string, id rebind.Revision, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	var event bytes.Buffer
	fmt.Fprintf(&event, "event: %s\n", kind)
	if id != 0 {
		fmt.Fprintf(&event, "id: %d\n", id)
	}
	fmt.Fprintf(&event, "data: %s\n\n", body) // JSON has no line feed in it
	return t.within(func() error {
		_, err := t.w.Write(event.Bytes())
		return err
	})
}

// flush has the client get what was written.
func (t *watcher) flush() error { return t.within(t.control.Flush) }

// within gives the client its time to take what write writes.
func (t *watcher) within(write func() error) error {
	_ = t.control.SetWriteDeadline(time.Now().Add(takeWithin)) // only a recorder in a test has none
	if err := write(); err != nil {
		t.gone = true
		return fmt.Errorf("client does not take what it is sent: %w", err)
	}
	_ = t.control.SetWriteDeadline(time.Time{}) // for what comes over this connection next
	return nil
}

// stepOf is a step as it is sent: what is of a type, or all of it.
func stepOf(s *rebind.Step, typ string) wire.Step {
	step := wire.Step{Revision: int64(s.Revision)}
	for i := range s.Changes {
		c := &s.Changes[i]
		if typ == "" || c.Name.Type() == typ {
			step.Changes = append(step.Changes, changeOf(c))
		}
	}
	return step
}

func changeOf(c *rebind.Change) wire.Change {
	change := wire.Change{Op: "put", Type: c.Name.Type(), ID: c.Name.ID(), ModRevision: int64(c.Revision), Fault: c.Fault}
	m := c.Memento
	switch {
	case m != nil:
		change.Item = &wire.Item{
			Parent: string(m.Parent), ContentType: m.ContentType, Schema: m.Schema,
			CreateRevision: int64(m.Created), Version: m.Version, Size: len(m.Payload),
		}
		change.Data, change.DataBase64 = payloadOf(m)
	case c.Fault == "":
		change.Op = "delete"
	}
	return change
}

// payloadOf is a payload within JSON: as it is where it says that it is JSON, and is,
// and in base64 otherwise.
func payloadOf(m *rebind.Memento) (json.RawMessage, *string) {
	if isJSON(m.ContentType) && utf8.Valid(m.Payload) && json.Valid(m.Payload) {
		return m.Payload, nil
	}
	text := base64.StdEncoding.EncodeToString(m.Payload)
	return nil, &text
}
