package etcdstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file keeps requests away from members of etcd that do not answer or cannot be relied
// on. A member that hangs, or is cut off from the others, keeps its connections. Nothing tells
// etcd's client, which sends requests to all members in turn, until grpc's pings find out 12 s
// later; meanwhile each request to that member fails late, and each watch there is silent. So
// the prober asks each of several members once a second, and the client leaves out those that
// do not answer while others do. Renewals of leases do not need it: no renewal waits for
// another one.

const (
	probeEvery = time.Second
	// lookEvery is how often a member is asked for its status.
	lookEvery = 2 * time.Second
	// silentFor is how long a member has not answered when it is left out: two questions in a
	// row.
	silentFor = 2500 * time.Millisecond
)

// memberProber knows which members answer, and their status. It has one or two goroutines for
// each member, which end with the store.
type memberProber struct {
	store   *Store
	members []string

	mu       sync.Mutex // guards the fields below
	answered map[string]time.Time
	statuses map[string]*datedStatus
	of       map[string]uint64 // the cluster for which a member last answered
	faults   map[string]string // what was last said to be wrong with a member
	cluster  uint64            // the members' that count; 0 if that is not known
	inUse    []string
	route    context.Context // of the streams that were opened since a member was left out
	reroute  context.CancelCauseFunc
}

// datedStatus is a member's status and when it was read.
type datedStatus struct {
	*memberStatus
	at time.Time
}

// newMemberProber makes the prober of a store. It asks nobody before begin.
func newMemberProber(s *Store) *memberProber {
	sc := &memberProber{
		store: s, members: s.cfg.Endpoints, inUse: s.cfg.Endpoints,
		answered: make(map[string]time.Time), statuses: make(map[string]*datedStatus),
		of: make(map[string]uint64), faults: make(map[string]string),
	}
	if s.cfg.Client != nil {
		sc.members = []string{"this process's own client"}
	}
	sc.route, sc.reroute = context.WithCancelCause(s.ctx)
	return sc
}

// alone reports whether there is only one member to ask.
func (sc *memberProber) alone() bool { return len(sc.members) == 1 }

// client returns a client of a single member, and a function that closes it.
func (sc *memberProber) client(member string) (*clientv3.Client, func(), error) {
	if sc.alone() {
		return sc.store.client, func() {}, nil
	}
	client, err := sc.store.access.dial([]string{member})
	if err != nil {
		return nil, nil, err
	}
	return client, func() { _ = client.Close() }, nil
}

// begin starts to ask the members. found is the status that each has just told, nil for those
// that did not answer.
func (sc *memberProber) begin(found []*memberStatus) {
	for i, member := range sc.members {
		sc.answered[member] = time.Now()
		if found[i] != nil {
			sc.noteStatus(member, found[i])
		}
		sc.store.group.Go(func() { sc.probe(member) })
	}
}

// errRerouted ends the streams that may be with a member that is now left out.
var errRerouted = fmt.Errorf("%w: a member of etcd does not answer, going to another", rebind.ErrUnavailable)

// probe asks one member until the store is closed.
func (sc *memberProber) probe(member string) {
	client, done, err := sc.client(member)
	if err != nil {
		sc.store.log.Warn("member of etcd not watched", zap.String("member", member), zap.Error(err))
		return
	}
	defer done()
	if sc.alone() {
		sc.inspect(member, client)
		return
	}
	sc.store.group.Go(func() { sc.inspect(member, client) })
	for retry.Wait(sc.store.ctx, probeEvery) == nil {
		ctx, cancel := context.WithTimeout(sc.store.ctx, probeEvery)
		resp, err := client.Get(ctx, sc.store.keys.meta(), clientv3.WithCountOnly())
		cancel()
		sc.report(member, resp, err)
	}
}

// report notes whether a member has just answered, and for which cluster.
func (sc *memberProber) report(member string, resp *clientv3.GetResponse, err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if err == nil {
		sc.of[member] = resp.Header.ClusterId
	}
	if err == nil || notApplied(err) {
		sc.answered[member] = time.Now()
	}
	sc.choose()
}

// answers reports whether a member has answered recently; the caller holds mu.
func (sc *memberProber) answers(member string) bool {
	return time.Since(sc.answered[member]) <= silentFor
}

// fault says why a member cannot be relied on; empty if it can, or if nothing is known. The
// caller holds mu.
func (sc *memberProber) fault(member string) string {
	if of := sc.of[member]; !sc.alone() && of != 0 && of != sc.cluster {
		return fmt.Sprintf("it is of cluster %x, and the others are of cluster %x", of, sc.cluster)
	}
	if seen := sc.statuses[member]; seen != nil {
		return seen.fault()
	}
	return ""
}

// choose sets the members that the client uses: those that answer and can be relied on; if
// there are none, those that answer; if none answers, all. The caller holds mu.
func (sc *memberProber) choose() {
	sc.chooseCluster()
	for _, member := range sc.members {
		if fault := sc.fault(member); fault != sc.faults[member] {
			sc.faults[member] = fault
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

// chooseCluster decides which cluster counts: the present one as long as a member of it
// answers. If the whole store was replaced, that is found elsewhere and reported as a restore.
// The caller holds mu.
func (sc *memberProber) chooseCluster() {
	if sc.clusterAnswers(sc.cluster) {
		return
	}
	for _, member := range sc.members {
		if of := sc.of[member]; of != 0 && sc.answers(member) {
			sc.cluster = of
			return
		}
	}
}

// clusterAnswers reports whether a member of a cluster answers; the caller holds mu.
func (sc *memberProber) clusterAnswers(cluster uint64) bool {
	return cluster != 0 && slices.ContainsFunc(sc.members, func(m string) bool { return sc.of[m] == cluster && sc.answers(m) })
}

// foreign reports whether an answer comes from another cluster than the store's.
func (sc *memberProber) foreign(cluster uint64) bool {
	if sc.alone() {
		return false
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return cluster != 0 && cluster != sc.cluster && sc.clusterAnswers(sc.cluster)
}

// routeContext returns the context of streams that are opened now. It ends when a member is
// left out.
func (sc *memberProber) routeContext() context.Context {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.route
}

// inspect reads a member's status every few seconds, until the store is closed.
func (sc *memberProber) inspect(member string, client *clientv3.Client) {
	for retry.Wait(sc.store.ctx, lookEvery) == nil {
		if p, err := askStatus(sc.store.ctx, client); err == nil {
			sc.noteStatus(member, p)
		}
	}
}

// noteStatus takes a member's status.
func (sc *memberProber) noteStatus(member string, p *memberStatus) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if before := sc.statuses[member]; p.corrupt && (before == nil || !before.corrupt) {
		sc.store.log.Error("etcd has found its members' data to differ and takes no writes", zap.String("member", member))
	}
	sc.statuses[member], sc.of[member] = &datedStatus{memberStatus: p, at: time.Now()}, p.cluster
	sc.choose()
}

// health tells what is known of the members.
func (sc *memberProber) health() (notes []string, refuses error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, member := range sc.members {
		seen := sc.statuses[member]
		if seen == nil {
			continue
		}
		if seen.corrupt && time.Since(seen.at) < 3*lookEvery && sc.fault(member) == "" {
			refuses = fmt.Errorf("%w: its alarm CORRUPT is raised", driver.ErrStoreCorrupt)
		}
		if fault := sc.fault(member); fault != "" {
			notes = append(notes, fmt.Sprintf("etcd at %s cannot be relied on: %s", member, fault))
		}
	}
	return notes, refuses
}

// If endpoints of two clusters are configured, requests reach both in turn. An answer of the
// wrong one would end terms and refuse writes, so it counts as no answer: a request that is
// safe to repeat goes to the next endpoint.

var errForeign = status.Error(codes.Unavailable, "answered for another cluster")

// options make a client check which cluster an answer comes from.
func (sc *memberProber) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(sc.unary), grpc.WithChainStreamInterceptor(sc.stream)}
}

func (sc *memberProber) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err == nil && sc.foreign(clusterOf(reply)) {
		return errForeign
	}
	return err
}

func (sc *memberProber) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &checkedStream{s, sc}, nil
}

// checkedStream is a stream whose messages count only if they come from the store's cluster.
type checkedStream struct {
	grpc.ClientStream
	prober *memberProber
}

// RecvMsg implements [grpc.ClientStream].
func (h *checkedStream) RecvMsg(m any) error {
	err := h.ClientStream.RecvMsg(m)
	if err == nil && h.prober.foreign(clusterOf(m)) {
		return errForeign
	}
	return err
}

// clusterOf returns the cluster that an answer says it comes from, 0 if it does not say.
func clusterOf(answer any) uint64 {
	if part, ok := answer.(*pb.RangeStreamResponse); ok {
		answer = part.GetRangeResponse()
	}
	if told, ok := answer.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return told.GetHeader().GetClusterId()
	}
	return 0
}
