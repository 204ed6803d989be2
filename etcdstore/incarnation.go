package etcdstore

import (
	"context"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file finds out that etcd was restored from a backup, or replaced by another cluster
// under the same address. Any goroutine may use it.

// etcd's client does not notice: its watches wait in silence for a revision that is now in
// the future, and a lease that was in the backup is renewed as if nothing had happened. So
// each linearizable answer is compared with what was known before the request was sent, from
// answers to reads and writes and from watches. If the new history has already passed the
// revision of the old one, only a copy of the old one can tell: see [replica.Mirror].

// incarnations knows which incarnation is the current one. It is a part of the store.
type incarnations struct {
	base context.Context // ends with the store, and each incarnation with it
	log  *zap.Logger

	mu      sync.Mutex // guards current and its fields
	current *incarnation
}

// incarnation is the store between two restores. Presences and streams rely on what was read
// in it, and end with its context.
type incarnation struct {
	ctx      context.Context
	end      context.CancelCauseFunc
	number   uint64 // how many there were before
	cluster  uint64 // 0: not known yet
	revision int64  // the highest known
}

func newIncarnation(ctx context.Context) *incarnation {
	a := new(incarnation)
	a.ctx, a.end = context.WithCancelCause(ctx)
	return a
}

// question is what was known when a request was sent.
type question struct {
	incarnation *incarnation
	cluster     uint64
	revision    int64
}

// ask is called before a linearizable request. Pass the result to answered.
func (s *incarnations) ask() question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return question{s.current, s.current.cluster, s.current.revision}
}

// answered checks the header of a linearizable answer. It returns a [driver.ErrRestored] if
// the store is not the one that was asked.
func (s *incarnations) answered(q question, h *pb.ResponseHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := q.incarnation
	switch {
	case a != s.current:
		return fmt.Errorf("%w while it was read", driver.ErrRestored)
	case a.cluster != 0 && h.ClusterId != a.cluster:
		return s.begin(fmt.Sprintf("it is cluster %x and was %x", h.ClusterId, a.cluster))
	case h.Revision < q.revision:
		return s.begin(fmt.Sprintf("it is at revision %d and was at %d", h.Revision, q.revision))
	}
	a.cluster, a.revision = h.ClusterId, max(a.revision, h.Revision)
	return nil
}

// saw notes the revision of an event that a watch of an incarnation has brought.
func (s *incarnations) saw(a *incarnation, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.revision = max(a.revision, revision)
}

// endedBy begins a new incarnation, unless somebody else has done so since the given one.
func (s *incarnations) endedBy(life uint64, how string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.number != life {
		return fmt.Errorf("%w: %s", driver.ErrRestored, how)
	}
	return s.begin(how)
}

// begin begins a new incarnation, of which nothing is known yet; the caller holds mu.
func (s *incarnations) begin(how string) error {
	err := fmt.Errorf("%w: %s", driver.ErrRestored, how)
	s.log.Error("store restored", zap.Error(err))
	old := s.current
	s.current = newIncarnation(s.base)
	s.current.number = old.number + 1
	old.end(err)
	return err
}

// suspect reports whether an answer is reason to ask again by a linearizable read. It may
// merely come from a member that lags behind.
func (q question) suspect(h *pb.ResponseHeader) bool {
	return (q.cluster != 0 && h.ClusterId != q.cluster) || h.Revision < q.revision
}
