package etcdstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// A member of etcd that hangs, or is cut off from the others, keeps its connections.
// Nothing tells etcd's client, whose requests go round all members, until grpc's
// pings find out 12 s later; meanwhile each request that meets the member fails
// late, and each watch there is silent. So where there are several members, a scout
// asks each of them once a second, and has the client leave out those that do not
// answer while others do. Renewals need no scout: one that hangs keeps none back, and
// where packets are lost the connections that there are had better be kept.

const (
	scoutEvery = time.Second
	// missing is for how long a member has not answered when it is left out: two
	// questions in a row.
	missing = 2500 * time.Millisecond
)

// scout knows which members answer.
type scout struct {
	store *Store

	mu      sync.Mutex // guards the fields below
	heard   map[string]time.Time
	inUse   []string
	route   context.Context // of the streams that were opened since a member was left out
	reroute context.CancelCauseFunc
}

// newScout starts the scout of a store.
func newScout(s *Store) *scout {
	sc := &scout{store: s, heard: make(map[string]time.Time), inUse: s.cfg.Endpoints}
	sc.route, sc.reroute = context.WithCancelCause(s.ctx)
	for _, member := range s.cfg.Endpoints {
		sc.heard[member] = time.Now()
	}
	if len(s.cfg.Endpoints) > 1 {
		for _, member := range s.cfg.Endpoints {
			s.group.Go(func() { sc.watch(member) })
		}
	}
	return sc
}

// errRerouted ends a stream that may be with a member that is left out.
var errRerouted = fmt.Errorf("%w: a member of etcd does not answer, going to another", rebind.ErrUnavailable)

// watch asks one member until the store is closed.
func (sc *scout) watch(member string) {
	client, err := sc.store.access.dial(member)
	if err != nil {
		sc.store.log.Warn("member of etcd not watched", zap.String("member", member), zap.Error(err))
		return
	}
	defer client.Close()
	for retry.Wait(sc.store.ctx, scoutEvery) == nil {
		ctx, cancel := context.WithTimeout(sc.store.ctx, scoutEvery)
		_, err := client.Get(ctx, sc.store.keys.meta(), clientv3.WithCountOnly())
		cancel()
		sc.report(member, err == nil || notApplied(err))
	}
}

// report notes whether a member has just answered, and chooses those to use.
func (sc *scout) report(member string, answered bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	now := time.Now()
	if answered {
		sc.heard[member] = now
	}
	use := slices.DeleteFunc(slices.Clone(sc.store.cfg.Endpoints), func(m string) bool { return now.Sub(sc.heard[m]) > missing })
	if len(use) == 0 {
		use = sc.store.cfg.Endpoints // nobody does: it is not for the members that nothing works
	}
	if slices.Equal(use, sc.inUse) {
		return
	}
	sc.store.log.Warn("going to those members of etcd that answer", zap.Strings("members", use), zap.Strings("before", sc.inUse))
	left := slices.ContainsFunc(sc.inUse, func(m string) bool { return !slices.Contains(use, m) })
	sc.inUse = use
	sc.store.client.SetEndpoints(use...)
	if left { // streams stay with the member they were opened at
		sc.reroute(errRerouted)
		sc.route, sc.reroute = context.WithCancelCause(sc.store.ctx)
	}
}

// present is the context of streams that are opened now.
func (sc *scout) present() context.Context {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.route
}
