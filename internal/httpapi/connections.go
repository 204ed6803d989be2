// This file limits connections: how many there are, how many each peer has, and which are
// closed to make room.

package httpapi

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// connLimiter limits the connections of a server. Some slots are reserved for health checks, so
// that a busy node is not taken for a dead one. Of the other slots one peer may use half. When
// slots are short, idle connections are closed, those that have been idle longest first.
type connLimiter struct {
	slots       int // for all requests
	healthSlots int // in addition, for health checks only

	mu      sync.Mutex // guards the fields below, and those of the connections
	conns   map[*limitedConn]struct{}
	count   map[bool]int         // by forHealth
	perPeer map[netip.Prefix]int // without those in health slots
}

// limitedConn is a connection that has a slot of a connLimiter.
type limitedConn struct {
	net.Conn
	limiter   *connLimiter
	peer      netip.Prefix
	forHealth bool      // it has a slot that is reserved for health checks
	idleSince time.Time // when the last request on it ended; zero while there is one
}

// newConnLimiter returns a limiter for most connections.
func newConnLimiter(most int) *connLimiter {
	reserved := min(max(most/16, 16), most/4)
	return &connLimiter{
		slots: most - reserved, healthSlots: reserved,
		conns: make(map[*limitedConn]struct{}), count: make(map[bool]int), perPeer: make(map[netip.Prefix]int),
	}
}

// LimitListener returns a listener that accepts as many connections as the API allows.
func LimitListener(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, limiter: newConnLimiter(maxConns())}
}

// limitedListener is a listener with a connLimiter.
type limitedListener struct {
	net.Listener
	limiter *connLimiter
}

// Accept waits for a connection that gets a slot.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.limiter.admit(c); admitted != nil {
			return admitted, nil
		}
		_ = c.Close() // even the slots for health checks are taken
	}
}

// peerPrefix returns the network that counts as one peer: an IPv4 address, or an IPv6 /64,
// because an IPv6 host can use any address of its network.
func peerPrefix(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	peer, _ := ip.Prefix(bits) // valid for these lengths
	return peer
}

// admit gives a connection a slot, and returns nil if there is none.
func (l *connLimiter) admit(c net.Conn) *limitedConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := &limitedConn{Conn: c, limiter: l, peer: peerPrefix(c.RemoteAddr()), idleSince: time.Now()}
	switch {
	case l.perPeer[n.peer] >= l.slots/2:
		n.forHealth = !l.evict(func(other *limitedConn) bool { return !other.forHealth && other.peer == n.peer })
	case l.count[false] >= l.slots:
		most := l.largestPeer()
		n.forHealth = !l.evict(func(other *limitedConn) bool { return !other.forHealth && other.peer == most })
	}
	if n.forHealth && l.count[true] >= l.healthSlots && !l.evict(func(other *limitedConn) bool { return other.forHealth }) {
		return nil
	}
	l.conns[n] = struct{}{}
	l.count[n.forHealth]++
	if !n.forHealth {
		l.perPeer[n.peer]++
	}
	return n
}

// largestPeer returns the peer with the most connections.
func (l *connLimiter) largestPeer() (peer netip.Prefix) {
	for p, n := range l.perPeer {
		if n > l.perPeer[peer] {
			peer = p
		}
	}
	return peer
}

// evict closes the connection that has been idle longest among those that the function accepts,
// and reports whether there was one.
func (l *connLimiter) evict(among func(*limitedConn) bool) bool {
	var idlest *limitedConn
	for n := range l.conns {
		if !n.idleSince.IsZero() && among(n) && (idlest == nil || n.idleSince.Before(idlest.idleSince)) {
			idlest = n
		}
	}
	if idlest == nil {
		return false
	}
	l.remove(idlest)
	_ = idlest.Conn.Close() // its reader gets an error
	return true
}

// remove frees the slot of a connection. It may be called more than once.
func (l *connLimiter) remove(n *limitedConn) {
	if _, there := l.conns[n]; !there {
		return
	}
	delete(l.conns, n)
	l.count[n.forHealth]--
	if n.forHealth {
		return
	}
	if l.perPeer[n.peer]--; l.perPeer[n.peer] == 0 {
		delete(l.perPeer, n.peer)
	}
}

// NetConn returns the connection that it wraps.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection and frees its slot.
func (c *limitedConn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.remove(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// setBusy records whether a request is being served on the connection.
func (c *limitedConn) setBusy(busy bool) {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.idleSince = time.Time{}
	if !busy {
		c.idleSince = time.Now()
	}
}

// limitedConnOf returns the limitedConn behind a connection, or nil if there is none.
func limitedConnOf(c net.Conn) *limitedConn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	n, _ := c.(*limitedConn)
	return n
}

// trackConnState records when a connection becomes idle.
func trackConnState(c net.Conn, state http.ConnState) {
	if n := limitedConnOf(c); n != nil && state == http.StateIdle {
		n.setBusy(false)
	}
}

// admitRequest marks the request's connection as busy. On a connection in a health slot it
// refuses everything but health checks.
func admitRequest(w http.ResponseWriter, r *http.Request) error {
	c, _ := r.Context().Value(connectionKey{}).(net.Conn)
	n := limitedConnOf(c)
	if n == nil {
		return nil
	}
	n.setBusy(!n.forHealth)
	if !n.forHealth {
		return nil
	}
	// It stays marked as idle, so that it can be closed if its client is slow to take the
	// answer.
	w.Header().Set("Connection", "close") // free the slot for the next health check
	if isHealthPath(r.URL.Path) {
		return nil
	}
	return fmt.Errorf("%w: you have all the connections that this node allows; the rest are for health checks", wire.ErrBusy)
}

// isHealthPath reports whether a path is one that supervisors and load balancers ask, for which
// slots are reserved.
func isHealthPath(path string) bool {
	return path == wire.PathLive || path == wire.PathReady || strings.HasPrefix(path, wire.PathRole)
}
