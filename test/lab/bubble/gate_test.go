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

// rule is a fault of the way between a process and etcd.
type rule struct {
	requests bool          // they are held until the rule ends
	answers  bool          // they are held until the rule ends
	refuse   bool          // connections are refused
	slow     time.Duration // the most by which each message is late, each way
	loss     float64       // how likely a message is late for having been sent again
	starve   bool          // renewals of leases are refused
	mute     bool          // watches bring nothing until the rule ends
	lose     *int          // so many answers to writes are lost, with the connection
	hush     bool          // all but renewals of leases is held until the rule ends
	deny     string        // writes of the plane's keys that begin so are refused
}

const (
	// rtt is the most that a message takes on a good day.
	rtt = time.Millisecond
	// silence is for how long a stream lasts that nothing passes: what grpc's pings
	// take to find out.
	silence = 12 * time.Second
)

// gate is the way between one process and etcd. Everything that a process asks, and
// is told, passes it.
type gate struct {
	etcd    *etcd
	renewed func(lease int64, sent time.Time) // is told of each renewal whose answer has passed
	late    sync.WaitGroup                    // what arrives after its sender has given up

	mu      sync.Mutex // guards the fields below
	rand    *rand.Rand
	rules   map[*rule]struct{}
	changed chan struct{} // closed when the rules change
	dead    bool          // the process is: nothing passes any more
	streams map[*brook]struct{}
}

func newGate(e *etcd, r *rand.Rand, renewed func(lease int64, sent time.Time)) *gate {
	return &gate{
		etcd: e, rand: r, renewed: renewed, rules: make(map[*rule]struct{}),
		changed: make(chan struct{}), streams: make(map[*brook]struct{}),
	}
}

// impose puts a rule in force until the returned function is called.
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

// stir wakes all who wait for the rules to change; the caller holds mu.
func (g *gate) stir() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// kill lets nothing pass any more.
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

// weather is what the rules come to at a moment.
type weather struct {
	rule
	dead    bool
	changed <-chan struct{}
	late    time.Duration // by how much a message is late, drawn
	chance  float64       // drawn
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
		w.hush = w.hush || r.hush
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

// spend counts an answer that is lost.
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

// wait lets time pass; it returns the error of ctx if that ends first.
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

// held reports which messages a weather holds.
type held func(*weather) bool

func requestsHeld(w *weather) bool { return w.requests || w.hush }
func answersHeld(w *weather) bool  { return w.answers || w.hush }
func watchesHeld(w *weather) bool  { return w.answers || w.hush || w.mute }
func renewalsHeld(w *weather) bool { return w.requests }
func renewedHeld(w *weather) bool  { return w.answers }

// denied returns etcd's refusal of writes that the weather denies, or nil.
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

// pass takes one message through the gate: it returns when that has come to the other
// end, or why it never will.
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

// ask brings a request to etcd and its answer back. A write whose sender gives up on
// the way arrives all the same, now and then.
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
	if s.life.Err() != nil { // it stopped with the request under way
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

// The rest makes a gate what etcd's clients are made on.

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
