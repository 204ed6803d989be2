// This file has the network, the stores and the clients for tests of watches.

package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// pipeNetwork is a network for one server in virtual time. Its connections buffer nothing, so a
// client that does not read is slow at once.
type pipeNetwork struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newNetwork() *pipeNetwork {
	p := &pipeNetwork{conns: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	return p
}

// Accept implements [net.Listener].
func (p *pipeNetwork) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *pipeNetwork) Close() error { p.close(); return nil }

// Addr implements [net.Listener].
func (p *pipeNetwork) Addr() net.Addr { return &net.UnixAddr{Name: "network"} }

func (p *pipeNetwork) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- localConn{theirs}:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect serves the API of a node in a bubble on a pipeNetwork, and gives the peer a client
// for it. The returned function stops the server as the daemon does after its node has ended:
// it waits for the requests in progress.
func (n *peer) connect(t *testing.T) (shutdown func(context.Context) error) {
	t.Helper()
	pipes := newNetwork()
	server := n.api.HTTPServer()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(pipes) })
	transport := &http.Transport{DialContext: pipes.dial}
	n.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		_ = server.Close()
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return server.Shutdown
}

// watchCountingStore is a store that counts open watches of mementos.
type watchCountingStore struct {
	driver.Store
	open, opened atomic.Int64
}

// Watch opens a watch that is counted until it is closed.
func (c *watchCountingStore) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	c.open.Add(1)
	c.opened.Add(1)
	return &countedWatch{Watcher: c.Store.Watch(ctx, after), closed: sync.OnceFunc(func() { c.open.Add(-1) })}
}

type countedWatch struct {
	driver.Watcher
	closed func()
}

// Close closes the watch.
func (w *countedWatch) Close() { w.closed(); w.Watcher.Close() }

// subscription is a client's watch.
type subscription struct {
	*client.Events
	t     testing.TB
	end   func()
	steps []wire.Step
	at    int64 // of the last event
}

// subscribe opens a watch and reads its first bookmark.
func (n *peer) subscribe(t testing.TB, query string, header ...string) *subscription {
	t.Helper()
	s, err := n.trySubscribe(t, query, header...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (n *peer) trySubscribe(t testing.TB, query string, header ...string) (*subscription, error) {
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+wire.PathWatch+query, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: n.client.Transport}).Do(req) // without a timeout
	if err != nil {
		cancel()
		return nil, err
	}
	s := &subscription{Events: client.NewEvents(resp.Body), t: t, end: func() { cancel(); _ = resp.Body.Close() }}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != wire.EventStream {
		s.end()
		return nil, fmt.Errorf("status %d, content type %q: want a stream of events", resp.StatusCode, got)
	}
	t.Cleanup(s.end)
	ev, err := s.next()
	if err == nil && ev.Kind != wire.EventBookmark {
		err = fmt.Errorf("first event is %s %s, want a bookmark", ev.Kind, ev.Data)
	}
	return s, err
}

// next reads an event and checks it against the document.
func (s *subscription) next() (client.Event, error) {
	ev, err := s.Next()
	if err != nil {
		return ev, err
	}
	if ev.Kind == wire.EventError {
		var p wire.Problem
		if err := json.Unmarshal(ev.Data, &p); err != nil {
			return ev, err
		}
		return ev, &p
	}
	schema := map[string]string{wire.EventChange: "Step", wire.EventBookmark: "Bookmark"}[ev.Kind]
	c, err := theContract()
	if err != nil {
		return ev, err
	}
	var data any
	if err := json.Unmarshal(ev.Data, &data); err != nil {
		return ev, fmt.Errorf("%s: %w", ev.Data, err)
	}
	if schema == "" {
		return ev, fmt.Errorf("event %q is not documented", ev.Kind)
	}
	if err := c.doc.Components.Schemas[schema].Value.VisitJSON(data); err != nil {
		return ev, fmt.Errorf("%s %s is not as documented: %w", ev.Kind, ev.Data, err)
	}
	var step wire.Step
	if err := json.Unmarshal(ev.Data, &step); err != nil {
		return ev, err
	}
	if strconv.FormatInt(step.Revision, 10) != ev.ID {
		return ev, fmt.Errorf("%s has id %s, want its revision", ev.Data, ev.ID)
	}
	if step.Revision < s.at || (ev.Kind == wire.EventChange && step.Revision == s.at) {
		return ev, fmt.Errorf("%s %d comes after %d", ev.Kind, step.Revision, s.at)
	}
	s.at = step.Revision
	if ev.Kind == wire.EventChange {
		s.steps = append(s.steps, step)
	}
	return ev, nil
}

// until reads up to a revision.
func (s *subscription) until(rev int64) *subscription {
	s.t.Helper()
	if err := s.tryUntil(rev); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *subscription) tryUntil(rev int64) error {
	for s.at < rev {
		if _, err := s.next(); err != nil {
			return fmt.Errorf("watch at revision %d, which is to come to %d: %w", s.at, rev, err)
		}
	}
	return nil
}

// ends reads to the end of the stream, and checks the kind of its last problem.
func (s *subscription) ends(kind string) {
	s.t.Helper()
	for {
		_, err := s.next()
		var p *wire.Problem
		switch {
		case err == nil:
			continue
		case !errors.As(err, &p) || p.Type != kind:
			s.t.Fatalf("watch ends with %v, want %s", err, kind)
		}
		if _, err := s.Next(); !errors.Is(err, client.ErrLost) {
			s.t.Errorf("after the problem: %v, want the end", err)
		}
		return
	}
}

// told lists the changes that were read, as "revision op type/id …".
func (s *subscription) told() []string {
	var all []string
	for _, step := range s.steps {
		text := strconv.FormatInt(step.Revision, 10)
		for _, c := range step.Changes {
			text += fmt.Sprintf(" %s %s/%s", c.Op, c.Type, c.ID)
		}
		all = append(all, text)
	}
	return all
}
