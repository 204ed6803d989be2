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
// answer while others do, and those that answer and cannot be relied on. Renewals need
// no scout: one that hangs keeps none back, and where packets are lost the connections
// that there are had better be kept.

const (
	scoutEvery = time.Second
	// lookEvery is how often a member is asked what it is.
	lookEvery = 2 * time.Second
	// missing is for how long a member has not answered when it is left out: two
	// questions in a row.
	missing = 2500 * time.Millisecond
)

// scout knows which members answer, and what they are.
type scout struct {
	store   *Store
	members []string

	mu      sync.Mutex // guards the fields below
	heard   map[string]time.Time
	found   map[string]*sighting
	of      map[string]uint64 // the cluster for which a member last answered
	told    map[string]string // what was last said to be wrong with a member
	cluster uint64            // the members' that count; 0 if that is not known
	inUse   []string
	route   context.Context // of the streams that were opened since a member was left out
	reroute context.CancelCauseFunc
}

// sighting is a portrait, and when it was taken.
type sighting struct {
	*portrait
	at time.Time
}

// newScout makes the scout of a store. It asks nobody before begin.
func newScout(s *Store) *scout {
	sc := &scout{
		store: s, members: s.cfg.Endpoints, inUse: s.cfg.Endpoints,
		heard: make(map[string]time.Time), found: make(map[string]*sighting),
		of: make(map[string]uint64), told: make(map[string]string),
	}
	if s.cfg.Client != nil {
		sc.members = []string{"this process's own client"}
	}
	sc.route, sc.reroute = context.WithCancelCause(s.ctx)
	return sc
}

// alone reports whether there is no choice of members.
func (sc *scout) alone() bool { return len(sc.members) == 1 }

// client returns a client of one member alone, and what is to be called when it is no
// longer needed.
func (sc *scout) client(member string) (*clientv3.Client, func(), error) {
	if sc.alone() {
		return sc.store.client, func() {}, nil
	}
	client, err := sc.store.access.dial([]string{member})
	if err != nil {
		return nil, nil, err
	}
	return client, func() { _ = client.Close() }, nil
}

// begin starts to ask the members; found is what they have just told of themselves, nil
// for those that did not.
func (sc *scout) begin(found []*portrait) {
	for i, member := range sc.members {
		sc.heard[member] = time.Now()
		if found[i] != nil {
			sc.portrayed(member, found[i])
		}
		sc.store.group.Go(func() { sc.watch(member) })
	}
}

// errRerouted ends a stream that may be with a member that is left out.
var errRerouted = fmt.Errorf("%w: a member of etcd does not answer, going to another", rebind.ErrUnavailable)

// watch asks one member until the store is closed.
func (sc *scout) watch(member string) {
	client, done, err := sc.client(member)
	if err != nil {
		sc.store.log.Warn("member of etcd not watched", zap.String("member", member), zap.Error(err))
		return
	}
	defer done()
	if sc.alone() {
		sc.look(member, client)
		return
	}
	sc.store.group.Go(func() { sc.look(member, client) })
	for retry.Wait(sc.store.ctx, scoutEvery) == nil {
		ctx, cancel := context.WithTimeout(sc.store.ctx, scoutEvery)
		resp, err := client.Get(ctx, sc.store.keys.meta(), clientv3.WithCountOnly())
		cancel()
		sc.report(member, resp, err)
	}
}

// report notes whether a member has just answered, and for which cluster.
func (sc *scout) report(member string, resp *clientv3.GetResponse, err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if err == nil {
		sc.of[member] = resp.Header.ClusterId
	}
	if err == nil || notApplied(err) {
		sc.heard[member] = time.Now()
	}
	sc.choose()
}

// answers reports whether a member has answered of late; the caller holds mu.
func (sc *scout) answers(member string) bool { return time.Since(sc.heard[member]) <= missing }

// fault says why a member cannot be relied on, empty if it can or nothing is known; the
// caller holds mu.
func (sc *scout) fault(member string) string {
	if of := sc.of[member]; !sc.alone() && of != 0 && of != sc.cluster {
		return fmt.Sprintf("it is of cluster %x, and the others are of cluster %x", of, sc.cluster)
	}
	if seen := sc.found[member]; seen != nil {
		return seen.fault()
	}
	return ""
}

// choose has the client use those members that answer and can be relied on; if there are
// none, those that answer; and all if nobody does, for then it is not for the members that
// nothing works. The caller holds mu.
func (sc *scout) choose() {
	sc.settle()
	for _, member := range sc.members {
		if fault := sc.fault(member); fault != sc.told[member] {
			sc.told[member] = fault
			if fault != "" {
				sc.store.log.Warn("member of etcd cannot be relied on", zap.String("member", member), zap.String("why", fault))
			}
		}
	}
	if sc.alone() {
		return
	}
	use := slices.DeleteFunc(slices.Clone(sc.members), func(m string) bool { return !sc.answers(m) })
	if sound := slices.DeleteFunc(slices.Clone(use), func(m string) bool { return sc.fault(m) != "" }); len(sound) > 0 {
		use = sound
	}
	if len(use) == 0 {
		use = sc.members
	}
	if slices.Equal(use, sc.inUse) {
		return
	}
	sc.store.log.Warn("going to those members of etcd that answer", zap.Strings("members", use), zap.Strings("before", sc.inUse))
	left := slices.ContainsFunc(sc.inUse, func(m string) bool { return !slices.Contains(use, m) })
	sc.inUse = use
	sc.store.client.SetEndpoints(use...)
	sc.store.loads.SetEndpoints(use...)
	if left { // streams stay with the member they were opened at
		sc.reroute(errRerouted)
		sc.route, sc.reroute = context.WithCancelCause(sc.store.ctx)
	}
}

// settle decides which cluster counts: the one that did, for as long as a member of it
// answers. A store that was replaced as a whole is another matter, and told as restored.
// The caller holds mu.
func (sc *scout) settle() {
	if sc.here(sc.cluster) {
		return
	}
	for _, member := range sc.members {
		if of := sc.of[member]; of != 0 && sc.answers(member) {
			sc.cluster = of
			return
		}
	}
}

// here reports whether a member of a cluster answers; the caller holds mu.
func (sc *scout) here(cluster uint64) bool {
	return cluster != 0 && slices.ContainsFunc(sc.members, func(m string) bool { return sc.of[m] == cluster && sc.answers(m) })
}

// stray reports whether an answer for a cluster is from an endpoint that belongs to
// another one than the store does.
func (sc *scout) stray(cluster uint64) bool {
	if sc.alone() {
		return false
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return cluster != 0 && cluster != sc.cluster && sc.here(sc.cluster)
}

// present is the context of streams that are opened now.
func (sc *scout) present() context.Context {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.route
}
