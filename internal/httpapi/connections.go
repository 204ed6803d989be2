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

// connLimiter is the connections that a server has. Some places are for those who ask for the
// node's health alone: a node that nobody else can reach must not be taken for dead. Of
// the others a peer has at most half. Connections on which nothing is asked give way
// where places are short, those that have been silent longest first.
type connLimiter struct {
	slots       int // for whatever is asked
	healthSlots int // beside them, for health

	mu      sync.Mutex // guards the fields below, and those of the connections
	conns   map[*limitedConn]struct{}
	count   map[bool]int         // of those that are for health, and of the others
	perPeer map[netip.Prefix]int // of the others
}

// limitedConn is one connection of a crowd.
type limitedConn struct {
	net.Conn
	limiter   *connLimiter
	peer      netip.Prefix
	forHealth bool      // it has a place that is for health
	idleSince time.Time // since when nothing is asked on it; zero while something is
}

// newConnLimiter makes a crowd of so many connections.
func newConnLimiter(most int) *connLimiter {
	reserved := min(max(most/16, 16), most/4)
	return &connLimiter{
		slots: most - reserved, healthSlots: reserved,
		conns: make(map[*limitedConn]struct{}), count: make(map[bool]int), perPeer: make(map[netip.Prefix]int),
	}
}

// LimitListener is a listener that has no more than its share of connections.
func LimitListener(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, limiter: newConnLimiter(maxConns())}
}

// limitedListener is a listener whose connections make a crowd.
type limitedListener struct {
	net.Listener
	limiter *connLimiter
}

// Accept waits for a connection that finds a place.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.limiter.admit(c); admitted != nil {
			return admitted, nil
		}
		_ = c.Close() // there are more who ask for health than can be
	}
}

// peerPrefix is whom an address counts as. An IPv6 network is one peer: its hosts have as
// many addresses as they like.
func peerPrefix(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	peer, _ := ip.Prefix(bits) // these bits fit
	return peer
}

// admit gives a connection a place; nil if there is none.
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

// largestPeer is the peer that has most connections.
func (l *connLimiter) largestPeer() (peer netip.Prefix) {
	for p, n := range l.perPeer {
		if n > l.perPeer[peer] {
			peer = p
		}
	}
	return peer
}

// evict closes the connection that has been silent longest among some, and reports
// whether there was one.
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
	_ = idlest.Conn.Close() // whoever reads from it is told
	return true
}

// remove takes a connection out, once.
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

// NetConn returns the connection itself.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection.
func (c *limitedConn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.remove(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// setBusy says whether something is asked on the connection.
func (c *limitedConn) setBusy(busy bool) {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.idleSince = time.Time{}
	if !busy {
		c.idleSince = time.Now()
	}
}

// limitedConnOf is the place of a connection, nil if it has come otherwise.
func limitedConnOf(c net.Conn) *limitedConn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	n, _ := c.(*limitedConn)
	return n
}

// trackConnState notes when nothing is asked any more on a connection.
func trackConnState(c net.Conn, state http.ConnState) {
	if n := limitedConnOf(c); n != nil && state == http.StateIdle {
		n.setBusy(false)
	}
}

// admitRequest notes that something is asked on the request's connection, and refuses what that
// has no place for.
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
	// It is answered at once. Who does not take that, or sends more, gives way.
	w.Header().Set("Connection", "close") // the place is for others who ask for health
	if isHealthPath(r.URL.Path) {
		return nil
	}
	return fmt.Errorf("%w: all connections are taken that this node has for you, those left are for its health alone", wire.ErrBusy)
}

// vital reports whether a path has places of its own: what supervisors and load balancers
// ask.
func isHealthPath(path string) bool {
	return path == wire.PathLive || path == wire.PathReady || strings.HasPrefix(path, wire.PathRole)
}
