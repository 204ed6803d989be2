package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// callTimeout is how long a call of a node that is cut off waits for an answer.
const callTimeout = 2 * time.Second

// Store is one node's connection to a [Server]. It implements
// [driver.Store].
type Store struct {
	server *Server
	node   string
	life   *life // guarded by the server's mu
}

var _ driver.Store = (*Store)(nil)

// reach waits until the node can reach the store, or returns an error after
// callTimeout, or one that tells of a restore. It returns with the server locked if it
// returns none.
func (s *Store) reach(ctx context.Context, call Call) error {
	if err := s.allowed(call); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		s.server.mu.Lock()
		if ctx.Err() == nil && !s.server.away(s.node) {
			err := s.look()
			if err == nil && s.server.corrupt && call.writes() {
				err = driver.ErrStoreCorrupt
			}
			if err != nil {
				s.server.mu.Unlock()
			}
			return err
		}
		moved := s.server.moved
		s.server.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", rebind.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// allowed asks the test whether a call is to take effect.
func (s *Store) allowed(call Call) error {
	s.server.mu.Lock()
	before := s.server.before
	s.server.mu.Unlock()
	return before(s.node, call)
}

// TTL returns the TTL of leases.
func (s *Store) TTL() time.Duration { return s.server.ttl }

// Health tells of a store that is corrupt.
func (s *Store) Health() driver.Health {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.corrupt {
		return driver.Health{Refuses: driver.ErrStoreCorrupt}
	}
	return driver.Health{}
}

// Head returns the present revision.
func (s *Store) Head(ctx context.Context) (rebind.Revision, error) {
	if err := s.reach(ctx, CallHead); err != nil {
		return 0, err
	}
	defer s.server.mu.Unlock()
	return s.server.revision, nil
}

// Plane returns the plane as it is.
func (s *Store) Plane(ctx context.Context) (driver.Plane, error) {
	if err := s.reach(ctx, CallPlane); err != nil {
		return driver.Plane{}, err
	}
	defer s.server.mu.Unlock()
	return s.server.plane(), nil
}

// History returns the latest terms, newest first.
func (s *Store) History(ctx context.Context) ([]driver.HistoryEntry, error) {
	if err := s.reach(ctx, CallHistory); err != nil {
		return nil, err
	}
	defer s.server.mu.Unlock()
	newest := slices.Clone(s.server.history)
	slices.Reverse(newest)
	return newest, nil
}

// Size counts the live nodes.
func (s *Store) Size(ctx context.Context) (int, error) {
	if err := s.reach(ctx, CallSize); err != nil {
		return 0, err
	}
	defer s.server.mu.Unlock()
	return len(s.server.nodes), nil
}

// Follow shows the plane as it is and after each change.
func (s *Store) Follow(ctx context.Context, see func(driver.Plane)) error {
	for {
		s.server.mu.Lock()
		p, moved, cut := s.server.plane(), s.server.moved, s.server.away(s.node)
		s.server.mu.Unlock()
		if !cut {
			see(p)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// FollowNear shows what concerns one node.
func (s *Store) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	return s.Follow(ctx, func(p driver.Plane) { see(p.Near(node)) })
}

// pageSize is small, so that tests see several pages.
const pageSize = 100

// Load reads all mementos at one revision.
func (s *Store) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	if err := s.reach(ctx, CallLoad); err != nil {
		return 0, err
	}
	at := s.server.revision
	all := slices.Collect(maps.Values(s.server.changes()))
	s.server.mu.Unlock()
	slices.SortFunc(all, func(a, b rebind.Change) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for part := range slices.Chunk(all, pageSize) {
		if err := page(driver.Page{Changes: part, Total: int64(len(all))}); err != nil {
			return 0, err
		}
	}
	return at, nil
}

// Past returns mementos as they were at a revision.
func (s *Store) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) ([]rebind.Change, bool, error) {
	if err := s.reach(ctx, CallLoad); err != nil {
		return nil, false, err
	}
	defer s.server.mu.Unlock()
	then, err := s.server.then(at)
	if err != nil {
		return nil, false, err
	}
	names := slices.Sorted(maps.Keys(then))
	first, _ := slices.BinarySearch(names, start)
	names = names[first:]
	more := len(names) > limit
	var found []rebind.Change
	for _, name := range names[:min(limit, len(names))] {
		found = append(found, then[name])
	}
	return found, more, nil
}

// Watch opens a stream of changes after a revision.
func (s *Store) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watcher{store: s, ctx: ctx, cancel: cancel, after: after, asked: make(chan struct{}, 1), life: s.life, breaks: s.server.breaks}
	life := s.life.ctx
	w.stop = context.AfterFunc(life, func() { cancel(context.Cause(life)) })
	return w
}

type watcher struct {
	store  *Store
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func() bool // forgets the life that the stream ends with
	after  rebind.Revision
	asked  chan struct{}
	life   *life
	breaks int // before it began
}

// Next returns what has happened since the last call, or how far the store has
// come if that was asked for.
func (w *watcher) Next(ctx context.Context) (driver.Batch, error) {
	asked := false
	for {
		s := w.store.server
		s.mu.Lock()
		moved, cut, head := s.moved, s.away(w.store.node) || s.stalled[w.store.node], s.revision
		compacted, broken := w.after < s.compact, w.breaks != s.breaks
		var b driver.Batch
		for _, c := range s.log {
			if c.Revision > w.after && c.Revision <= head {
				b.Changes = append(b.Changes, c)
				b.Revision = c.Revision
			}
		}
		if life := w.store.life; !cut && !broken && life == w.life {
			life.seen = max(life.seen, b.Revision)
		}
		s.mu.Unlock()
		switch {
		case broken:
			return driver.Batch{}, fmt.Errorf("%w: connection lost", rebind.ErrUnavailable)
		case cut:
		case compacted:
			return driver.Batch{}, driver.ErrCompacted
		case len(b.Changes) > 0:
			w.after = b.Revision
			return b, nil
		case asked && head > w.after:
			w.after = head
			return driver.Batch{Revision: head}, nil
		}
		select {
		case <-moved:
		case <-w.asked:
			asked = true
		case <-ctx.Done():
			return driver.Batch{}, context.Cause(ctx)
		case <-w.ctx.Done():
			return driver.Batch{}, context.Cause(w.ctx)
		}
	}
}

// Progress asks for a batch that tells how far the store has come.
func (w *watcher) Progress(context.Context) error {
	select {
	case w.asked <- struct{}{}:
	default:
	}
	return nil
}

// Close ends the stream.
func (w *watcher) Close() {
	w.stop()
	w.cancel(nil)
}

// life is what a node knows of the store between two restores of it. It does not see
// one: it finds the store below a revision that it has seen, or a copy finds that its
// past is not the store's.
type life struct {
	number uint64
	seen   rebind.Revision
	ctx    context.Context // ends with it
	end    context.CancelCauseFunc
}

// Incarnation counts how often this node has found the store to be restored.
func (s *Store) Incarnation() uint64 {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.life.number
}

// Restored ends a life of the store.
func (s *Store) Restored(life uint64, how string) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.restoredSince(life, how)
}

// restoredSince is Restored for a caller that holds the server.
func (s *Store) restoredSince(life uint64, how string) error {
	err := fmt.Errorf("%w: %s", driver.ErrRestored, how)
	if old := s.life; old.number == life {
		s.life = s.server.newLife(life + 1)
		old.end(err)
	}
	return err
}

// look takes note of the store's revision; the caller holds the server.
func (s *Store) look() error {
	now := s.server.revision
	if now < s.life.seen {
		return s.restoredSince(s.life.number, fmt.Sprintf("it is at revision %d and was at %d", now, s.life.seen))
	}
	s.life.seen = now
	return nil
}

// Tally counts the mementos that there were at a revision.
func (s *Store) Tally(ctx context.Context, at rebind.Revision) (int64, error) {
	if err := s.reach(ctx, CallHead); err != nil {
		return 0, err
	}
	defer s.server.mu.Unlock()
	then, err := s.server.then(at)
	return int64(len(then)), err
}

// Writable tells whether there is room.
func (s *Store) Writable(ctx context.Context, _ driver.Record) error {
	if err := s.reach(ctx, CallOperate); err != nil {
		return err
	}
	defer s.server.mu.Unlock()
	if s.server.full {
		return driver.ErrStoreFull
	}
	return nil
}

// Pause puts p in force. Its key outlives its end by a TTL: so it would where the lease
// that it hangs on is renewed in full when the store changes its leader.
func (s *Store) Pause(ctx context.Context, p driver.Pause) error {
	return s.operate(ctx, func(server *Server) error {
		server.lift()
		server.pause = &p
		if p.Until != nil {
			server.lifted = time.AfterFunc(time.Until(*p.Until)+server.ttl, func() {
				server.mu.Lock()
				defer server.mu.Unlock()
				server.pause = nil
				server.step()
				server.announce()
			})
		}
		return nil
	})
}

// Resume ends a pause.
func (s *Store) Resume(ctx context.Context) error {
	return s.operate(ctx, func(server *Server) error {
		server.lift()
		if server.pause == nil {
			return errNothing
		}
		server.pause = nil
		return nil
	})
}

// errNothing is a change that changes nothing, which makes no revision.
var errNothing = errors.New("nothing to change")

// Forget deletes what is kept of a node that left.
func (s *Store) Forget(ctx context.Context, node string) error {
	return s.operate(ctx, func(server *Server) error {
		if _, ok := server.left[node]; !ok {
			return fmt.Errorf("%w among those that left: %s", driver.ErrNoNode, node)
		}
		delete(server.left, node)
		return nil
	})
}

// operate makes one change without a term.
func (s *Store) operate(ctx context.Context, change func(*Server) error) error {
	if err := s.reach(ctx, CallOperate); err != nil {
		return err
	}
	defer s.server.mu.Unlock()
	if err := change(s.server); err != nil {
		if errors.Is(err, errNothing) {
			return nil
		}
		return err
	}
	s.server.step()
	s.server.announce()
	return nil
}
