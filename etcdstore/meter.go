package etcdstore

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/coordinator-ha/coordinator/rebind"
)

// grpc tells of a message when it is there as a whole. On a slow link that takes a while,
// and says nothing of whether more is on its way. So what is read in bulk has connections
// of its own, on which every byte that comes is counted: what advances is waited for,
// what stands still is not. They are not pinged, for an answer to a ping is no progress,
// and they go when nobody needs them.

// loadStalls is for how long nothing may come of what is read in bulk: etcd reads from
// disk, perhaps on a busy machine.
const loadStalls = 10 * callTimeout

// idleLoads is for how long the connections of loads outlast them.
const idleLoads = 30 * time.Second

// bulkTries is how often etcd's client is to try a request by itself: a page that breaks a
// connection may have to be smaller.
const bulkTries = 2

// meter counts the bytes that come on some connections.
type meter struct {
	credentials.TransportCredentials
	bytes *atomic.Int64
}

// bulk makes a client whose bytes are counted.
func (s *Store) bulk(bytes *atomic.Int64) (*clientv3.Client, error) {
	creds := insecure.NewCredentials()
	if s.access.secure != nil {
		creds = s.access.secure
	}
	return s.access.dialTrying(bulkTries, s.cfg.Endpoints, append(s.scout.options(),
		grpc.WithTransportCredentials(meter{creds, bytes}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: math.MaxInt64}),
		grpc.WithIdleTimeout(idleLoads))...)
}

// ClientHandshake implements [credentials.TransportCredentials].
func (m meter) ClientHandshake(ctx context.Context, endpoint string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return m.TransportCredentials.ClientHandshake(ctx, endpoint, &counted{raw, m.bytes})
}

// Clone returns m, which is made to be shared.
func (m meter) Clone() credentials.TransportCredentials { return m }

// counted is a connection of which what comes is counted.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

// Read implements [net.Conn].
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// patience ends a context when nothing has come for loadStalls.
type patience struct {
	bytes  *atomic.Int64
	cancel context.CancelCauseFunc
	timer  *time.Timer

	mu      sync.Mutex // guards the fields below
	seen    int64
	waiting bool
}

// patiently returns a context that ends when nothing comes any more, when a member of etcd
// is left out, or with the store, and what has to be told when the caller has other things
// to do than to read.
func (s *Store) patiently(ctx context.Context) (context.Context, *patience, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	route := s.scout.present() // ends with the store as well
	stop := context.AfterFunc(route, func() { cancel(context.Cause(route)) })
	p := &patience{bytes: &s.loaded, cancel: cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.waiting = p.bytes.Load(), true
	p.timer = time.AfterFunc(loadStalls, p.look)
	return ctx, p, func() { stop(); p.busy(); cancel(nil) }
}

// look ends the context if nothing has come since it last looked.
func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.bytes.Load()
	switch {
	case !p.waiting:
	case now == p.seen:
		p.cancel(fmt.Errorf("%w: nothing came for %s", rebind.ErrUnavailable, loadStalls))
	default:
		p.seen = now
		p.timer.Reset(loadStalls)
	}
}

// busy says that the caller does not read now.
func (p *patience) busy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	p.timer.Stop()
}

// again says that the caller goes on reading.
func (p *patience) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.waiting = p.bytes.Load(), true
	p.timer.Reset(loadStalls)
}
