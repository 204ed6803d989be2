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

// This file tells a slow read from one that has stopped. grpc delivers a message when it is
// complete, which takes a while on a slow link and does not show whether more is coming. So
// large reads have connections of their own on which each byte is counted: as long as bytes
// arrive the read goes on. These connections are not pinged, because the answer to a ping
// would count as progress, and they are closed when idle.

// loadStalls is how long a large read may receive nothing: etcd reads from disk, perhaps on a
// busy machine.
const loadStalls = 10 * callTimeout

// idleLoads is how long those connections stay open without use.
const idleLoads = 30 * time.Second

// bulkTries is how often etcd's client tries such a request by itself. If a page breaks the
// connection, the next try should be for a smaller one.
const bulkTries = 2

// meter counts the bytes that come on some connections.
type meter struct {
	credentials.TransportCredentials
	bytes *atomic.Int64
}

// bulkClient makes a client whose bytes are counted.
func bulkClient(s *Store, bytes *atomic.Int64) (*clientv3.Client, error) {
	creds := insecure.NewCredentials()
	if s.access.secure != nil {
		creds = s.access.secure
	}
	return s.access.dialTrying(bulkTries, s.cfg.Endpoints, append(s.prober.options(),
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

// counted is a connection that counts the bytes it receives.
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

// silenceTimer ends a context when nothing has arrived for loadStalls.
type silenceTimer struct {
	bytes  *atomic.Int64
	cancel context.CancelCauseFunc
	timer  *time.Timer

	mu      sync.Mutex // guards the fields below
	seen    int64
	waiting bool
}

// withSilenceTimer returns a context that ends when nothing arrives any more, when a member of
// etcd is left out, or with the store. Pause the timer while the caller is not reading.
func withSilenceTimer(ctx context.Context, s *Store) (context.Context, *silenceTimer, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	route := s.prober.routeContext() // ends with the store as well
	stop := context.AfterFunc(route, func() { cancel(context.Cause(route)) })
	p := &silenceTimer{bytes: &s.loaded, cancel: cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.waiting = p.bytes.Load(), true
	p.timer = time.AfterFunc(loadStalls, p.check)
	return ctx, p, func() { stop(); p.pause(); cancel(nil) }
}

// check ends the context if nothing has arrived since the last check.
func (p *silenceTimer) check() {
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

// pause stops the timer while the caller does something else than reading.
func (p *silenceTimer) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	p.timer.Stop()
}

// resume starts the timer again.
func (p *silenceTimer) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.waiting = p.bytes.Load(), true
	p.timer.Reset(loadStalls)
}
