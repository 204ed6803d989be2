package bubble_test

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// brook is one stream through a gate. It ends when the server stops, when it is cut, and
// when no message could pass for a while.
type brook struct {
	gate  *gate
	ctx   context.Context
	sever context.CancelFunc
}

// open begins a stream to the running server.
func (g *gate) open(ctx context.Context, starve bool) (*brook, *serving, error) {
	hold := requestsHeld
	if starve {
		hold = renewalsHeld
	}
	if err := g.pass(ctx, hold); err != nil {
		return nil, nil, err
	}
	s := g.etcd.present()
	if s == nil || starve && g.look().starve {
		if err := wait(ctx, 10*rtt); err != nil {
			return nil, nil, err
		}
		return nil, nil, errGone
	}
	b := &brook{gate: g}
	b.ctx, b.sever = context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, b.sever)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[b] = struct{}{}
	context.AfterFunc(b.ctx, func() {
		stop()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.streams, b)
	})
	if g.dead {
		b.sever()
	}
	return b, s, nil
}

// pass takes a message of the stream through the gate.
func (b *brook) pass(hold held) error {
	ctx, cancel := context.WithTimeout(b.ctx, silence)
	defer cancel()
	err := b.gate.pass(ctx, hold)
	if err != nil {
		b.sever()
		return errGone
	}
	return nil
}

// broken is the error with which grpc ends a broken stream.
func (b *brook) broken(caller context.Context, err error) error {
	if b.ctx.Err() != nil && caller.Err() == nil {
		return errGone
	}
	return err
}

// watch is a stream of watches.
type watch struct {
	pb.Watch_WatchClient
	*brook
	caller context.Context
}

func (g *gate) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	b, s, err := g.open(ctx, false)
	if err != nil {
		return nil, err
	}
	stream, err := s.watch.Watch(b.ctx, opts...)
	if err != nil {
		b.sever()
		return nil, err
	}
	return &watch{stream, b, ctx}, nil
}

func (w *watch) Send(r *pb.WatchRequest) error {
	if err := w.pass(requestsHeld); err != nil {
		return err
	}
	return w.broken(w.caller, w.Watch_WatchClient.Send(r))
}

func (w *watch) Recv() (*pb.WatchResponse, error) {
	r, err := w.Watch_WatchClient.Recv()
	if err != nil {
		err = w.broken(w.caller, err)
		w.sever()
		return nil, err
	}
	if err := w.pass(watchesHeld); err != nil {
		return nil, err
	}
	return r, nil
}

// renewal is a stream of lease renewals.
type renewal struct {
	pb.Lease_LeaseKeepAliveClient
	*brook
	caller context.Context

	mu   sync.Mutex // guards the field below
	sent []time.Time
}

func (g *gate) LeaseKeepAlive(ctx context.Context, opts ...grpc.CallOption) (pb.Lease_LeaseKeepAliveClient, error) {
	b, s, err := g.open(ctx, true)
	if err != nil {
		return nil, err
	}
	stream, err := s.lease.LeaseKeepAlive(b.ctx, opts...)
	if err != nil {
		b.sever()
		return nil, err
	}
	return &renewal{Lease_LeaseKeepAliveClient: stream, brook: b, caller: ctx}, nil
}

func (r *renewal) Send(m *pb.LeaseKeepAliveRequest) error {
	r.mu.Lock()
	r.sent = append(r.sent, time.Now())
	r.mu.Unlock()
	if err := r.pass(renewalsHeld); err != nil {
		return err
	}
	return r.broken(r.caller, r.Lease_LeaseKeepAliveClient.Send(m))
}

func (r *renewal) Recv() (*pb.LeaseKeepAliveResponse, error) {
	m, err := r.Lease_LeaseKeepAliveClient.Recv()
	if err != nil {
		err = r.broken(r.caller, err)
		r.sever()
		return nil, err
	}
	if err := r.pass(renewedHeld); err != nil {
		return nil, err
	}
	r.mu.Lock()
	sent := r.sent[0]
	r.sent = r.sent[1:]
	r.mu.Unlock()
	if m.TTL > 0 {
		r.gate.renewed(m.ID, sent)
	}
	return m, nil
}

// CloseSend ends the stream: nobody reads from a closed one.
func (r *renewal) CloseSend() error {
	err := r.Lease_LeaseKeepAliveClient.CloseSend()
	r.sever()
	return err
}
