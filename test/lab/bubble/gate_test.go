package bubble_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rule is a fault of the connection between a process and etcd.
type rule struct {
	requests     bool          // requests are held until the rule ends
	answers      bool          // answers are held until the rule ends
	refuse       bool          // connections are refused
	slow         time.Duration // the largest delay of a message, each way
	loss         float64       // probability that a message is delayed by a retransmission
	starve       bool          // renewals of leases are refused
	mute         bool          // watches deliver nothing until the rule ends
	lose         *int          // how many answers to writes are lost, with the connection
	onlyRenewals bool          // everything except lease renewals is held until the rule ends
	deny         string        // writes of the plane's keys with this prefix are refused
}

const (
	// rtt is the longest round trip of a message without faults.
	rtt = time.Millisecond
	// silence is how long a stream lasts without any message: the time that grpc's pings
	// need to notice.
	silence = 12 * time.Second
)

// gate is the connection between one process and etcd. Every request and answer of the
// process passes it.
type gate struct {
	etcd    *etcd
	renewed func(lease int64, sent time.Time) // called for each renewal whose answer has passed
	late    sync.WaitGroup                    // decides what arrives after its sender has given up

	mu      sync.Mutex // guards the fields below
	rand    *rand.Rand
	rules   map[*rule]struct{}
	changed chan struct{} // closed when the rules change
	dead    bool          // the process was killed: nothing passes any more
	streams map[*brook]struct{}
}

func newGate(e *etcd, r *rand.Rand, renewed func(lease int64, sent time.Time)) *gate {
	return &gate{
		etcd: e, rand: r, renewed: renewed, rules: make(map[*rule]struct{}),
		changed: make(chan struct{}), streams: make(map[*brook]struct{}),
	}
}

// impose puts a rule in force until the returned func is called.
func (g *gate) impose(r rule) (lift func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rules[&r] = struct{}{}
	g.stir()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.rules, &r)
		g.stir()
	}
}

// stir wakes all who wait for a change of the rules; the caller holds mu.
func (g *gate) stir() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// kill stops all messages for good.
func (g *gate) kill() {
	g.mu.Lock()
	g.dead = true
	g.stir()
	g.mu.Unlock()
	g.cut()
}

// cut breaks all streams.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.streams {
		s.sever()
	}
}

// weather is the combined effect of the rules at one moment.
type weather struct {
	rule
	dead    bool
	changed <-chan struct{}
	late    time.Duration // the delay of a message, drawn at random
	chance  float64       // drawn at random
}

// look draws what happens to one message.
func (g *gate) look() weather {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := weather{dead: g.dead, changed: g.changed, chance: g.rand.Float64()}
	w.late = time.Duration(g.rand.Int64N(int64(rtt)))
	for r := range g.rules {
		w.requests = w.requests || r.requests
		w.answers = w.answers || r.answers
		w.refuse = w.refuse || r.refuse
		w.starve = w.starve || r.starve
		w.mute = w.mute || r.mute
		w.onlyRenewals = w.onlyRenewals || r.onlyRenewals
		if r.deny != "" {
			w.deny = r.deny
		}
		if r.lose != nil && *r.lose > 0 {
			w.lose = r.lose
		}
		if r.slow > 0 {
			w.late += time.Duration(g.rand.Int64N(int64(r.slow)))
		}
		if g.rand.Float64() < r.loss {
			w.late += 200*time.Millisecond + time.Duration(g.rand.Int64N(int64(2*time.Second)))
		}
	}
	return w
}

// spend counts a lost answer.
func (g *gate) spend(lose *int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if lose == nil || *lose == 0 {
		return false
	}
	*lose--
	return true
}

var errGone = status.Error(codes.Unavailable, "connection lost")

// wait waits for a time; if ctx ends first it returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// held reports whether messages of a direction are held.
type held func(*weather) bool

func requestsHeld(w *weather) bool { return w.requests || w.onlyRenewals }
func answersHeld(w *weather) bool  { return w.answers || w.onlyRenewals }
func watchesHeld(w *weather) bool  { return w.answers || w.onlyRenewals || w.mute }
func renewalsHeld(w *weather) bool { return w.requests }
func renewedHeld(w *weather) bool  { return w.answers }

// denied returns etcd's refusal of a write that the rules deny, or nil.
func (g *gate) denied(ops ...*pb.RequestOp) error {
	deny := g.look().deny
	if deny == "" {
		return nil
	}
	for _, op := range ops {
		key := op.GetRequestPut().GetKey()
		if d := op.GetRequestDeleteRange(); d != nil {
			key = d.Key
		}
		if txn := op.GetRequestTxn(); txn != nil {
			if err := g.denied(slices.Concat(txn.Success, txn.Failure)...); err != nil {
				return err
			}
		}
		if bytes.HasPrefix(key, []byte(root+deny)) {
			return rpctypes.ErrGRPCPermissionDenied
		}
	}
	return nil
}

// pass takes one message through the gate. It returns when the message has arrived, or why
// it never will.
func (g *gate) pass(ctx context.Context, hold held) error {
	for {
		w := g.look()
		switch {
		case w.dead || w.refuse:
			if err := wait(ctx, 10*rtt); err != nil {
				return err
			}
			return errGone
		case hold(&w):
			select {
			case <-w.changed:
				continue
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			}
		}
		return wait(ctx, w.late)
	}
}

// ask sends a request to etcd and returns the answer. Sometimes a write arrives although
// its sender has given up.
func ask[Answer any](ctx context.Context, g *gate, writes bool, call func(context.Context, *serving) (Answer, error)) (Answer, error) {
	var none Answer
	if err := g.pass(ctx, requestsHeld); err != nil {
		if writes && ctx.Err() != nil && g.look().chance < 0.5 {
			g.late.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if g.pass(ctx, requestsHeld) != nil {
					return
				}
				if s := g.etcd.present(); s != nil {
					_, _ = call(ctx, s)
				}
			})
		}
		return none, err
	}
	s := g.etcd.present()
	if s == nil {
		if err := wait(ctx, 10*rtt); err != nil {
			return none, err
		}
		return none, errGone
	}
	answer, err := call(ctx, s)
	if s.life.Err() != nil { // etcd stopped during the request
		return none, errGone
	}
	if w := g.look(); writes && g.spend(w.lose) {
		if w.chance < 0.5 {
			return none, errGone
		}
		if err := wait(ctx, silence); err != nil {
			return none, err
		}
		return none, errGone
	}
	if late := g.pass(ctx, answersHeld); late != nil {
		return none, late
	}
	return answer, err
}

// The methods that etcd's clients need of a connection.

func (g *gate) Range(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return ask(ctx, g, false, func(ctx context.Context, s *serving) (*pb.RangeResponse, error) { return s.kv.Range(ctx, in) })
}

func (g *gate) RangeStream(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	s := g.etcd.present()
	if s == nil {
		return nil, errGone
	}
	return s.kv.RangeStream(ctx, in)
}

func (g *gate) Put(ctx context.Context, in *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return ask(ctx, g, true, func(ctx context.Context, s *serving) (*pb.PutResponse, error) {
		if err := g.denied(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: in}}); err != nil {
			return nil, err
		}
		return s.kv.Put(ctx, in)
	})
}

func (g *gate) DeleteRange(ctx context.Context, in *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return ask(ctx, g, true, func(ctx context.Context, s *serving) (*pb.DeleteRangeResponse, error) {
		if err := g.denied(&pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: in}}); err != nil {
			return nil, err
		}
		return s.kv.DeleteRange(ctx, in)
	})
}

func (g *gate) Txn(ctx context.Context, in *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return ask(ctx, g, true, func(ctx context.Context, s *serving) (*pb.TxnResponse, error) {
		if err := g.denied(slices.Concat(in.Success, in.Failure)...); err != nil {
			return nil, err
		}
		return s.kv.Txn(ctx, in)
	})
}

func (g *gate) Compact(ctx context.Context, in *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return ask(ctx, g, false, func(ctx context.Context, s *serving) (*pb.CompactionResponse, error) { return s.kv.Compact(ctx, in) })
}

func (g *gate) LeaseGrant(ctx context.Context, in *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	sent := time.Now()
	resp, err := ask(ctx, g, false, func(ctx context.Context, s *serving) (*pb.LeaseGrantResponse, error) {
		return s.lease.LeaseGrant(ctx, in)
	})
	if err == nil {
		g.renewed(resp.ID, sent)
	}
	return resp, err
}

func (g *gate) LeaseRevoke(ctx context.Context, in *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return ask(ctx, g, true, func(ctx context.Context, s *serving) (*pb.LeaseRevokeResponse, error) {
		return s.lease.LeaseRevoke(ctx, in)
	})
}

func (g *gate) LeaseTimeToLive(ctx context.Context, in *pb.LeaseTimeToLiveRequest, _ ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return ask(ctx, g, false, func(ctx context.Context, s *serving) (*pb.LeaseTimeToLiveResponse, error) {
		return s.lease.LeaseTimeToLive(ctx, in)
	})
}

func (g *gate) LeaseLeases(ctx context.Context, in *pb.LeaseLeasesRequest, _ ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return ask(ctx, g, false, func(ctx context.Context, s *serving) (*pb.LeaseLeasesResponse, error) {
		return s.lease.LeaseLeases(ctx, in)
	})
}
