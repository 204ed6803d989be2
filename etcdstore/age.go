package etcdstore

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// A store that is restored from a backup, or replaced by another cluster under the
// same address, goes back in time. etcd's client does not notice: its watches wait
// in silence for a revision that is now in the future, and a lease that was in
// the backup is renewed as if nothing had happened. So each linearizable answer is
// compared with what was known before it was asked for, from whatever: answers to reads
// and to writes, and what watches have brought. Where the new history has overtaken the
// old one's revision, only a copy of the old one can tell: see [replica.Mirror].

// age is the life of the store between two restores. Everything that relies on
// what was read in it ends with its context: memberships and streams.
type age struct {
	ctx      context.Context
	end      context.CancelCauseFunc
	number   uint64 // how many there were before
	cluster  uint64 // 0: not known yet
	revision int64  // the highest known
}

func newAge(ctx context.Context) *age {
	a := new(age)
	a.ctx, a.end = context.WithCancelCause(ctx)
	return a
}

// question is what was known when a request was sent.
type question struct {
	age      *age
	cluster  uint64
	revision int64
}

// ask is called before a linearizable request, answered with its answer.
func (s *Store) ask() question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return question{s.age, s.age.cluster, s.age.revision}
}

// answered takes the header of a linearizable answer. It returns a
// [driver.ErrRestored] if the store is not the one that was asked.
func (s *Store) answered(q question, h *pb.ResponseHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := q.age
	switch {
	case a != s.age:
		return fmt.Errorf("%w while it was read", driver.ErrRestored)
	case a.cluster != 0 && h.ClusterId != a.cluster:
		return s.restored(fmt.Sprintf("it is cluster %x and was %x", h.ClusterId, a.cluster))
	case h.Revision < q.revision:
		return s.restored(fmt.Sprintf("it is at revision %d and was at %d", h.Revision, q.revision))
	}
	a.cluster, a.revision = h.ClusterId, max(a.revision, h.Revision)
	return nil
}

// saw takes the revision of something that a watch of an age has brought.
func (s *Store) saw(a *age, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.revision = max(a.revision, revision)
}

// Restored begins a new age if the present one is that of the life.
func (s *Store) Restored(life uint64, how string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.age.number != life {
		return fmt.Errorf("%w: %s", driver.ErrRestored, how)
	}
	return s.restored(how)
}

// restored begins a new age, of which nothing is known yet; the caller holds mu.
func (s *Store) restored(how string) error {
	err := fmt.Errorf("%w: %s", driver.ErrRestored, how)
	s.log.Error("store restored", zap.Error(err))
	old := s.age
	s.age = newAge(s.ctx)
	s.age.number = old.number + 1
	old.end(err)
	return err
}

// Incarnation counts how often the store turned out to be restored.
func (s *Store) Incarnation() uint64 { return s.ask().age.number }

// suspect reports whether the header of an answer that may come from a member
// which lags behind is reason to ask for one that does not.
func (q question) suspect(h *pb.ResponseHeader) bool {
	return (q.cluster != 0 && h.ClusterId != q.cluster) || h.Revision < q.revision
}
