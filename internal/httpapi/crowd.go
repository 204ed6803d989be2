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

// crowd is the connections that a server has. Some places are for those who ask for the
// node's health alone: a node that nobody else can reach must not be taken for dead. Of
// the others a peer has at most half. Connections on which nothing is asked give way
// where places are short, those that have been silent longest first.
type crowd struct {
	places   int // for whatever is asked
	reserved int // beside them, for health

	mu    sync.Mutex // guards the fields below, and those of the connections
	conns map[*conn]struct{}
	count map[bool]int         // of those that are for health, and of the others
	peers map[netip.Prefix]int // of the others
}

// conn is one connection of a crowd.
type conn struct {
	net.Conn
	crowd *crowd
	peer  netip.Prefix
	vital bool      // it has a place that is for health
	quiet time.Time // since when nothing is asked on it; zero while something is
}

// newCrowd makes a crowd of so many connections.
func newCrowd(most int) *crowd {
	reserved := min(max(most/16, 16), most/4)
	return &crowd{
		places: most - reserved, reserved: reserved,
		conns: make(map[*conn]struct{}), count: make(map[bool]int), peers: make(map[netip.Prefix]int),
	}
}

// Bounded is a listener that has no more than its share of connections.
func Bounded(l net.Listener) net.Listener {
	return &crowded{Listener: l, crowd: newCrowd(connections())}
}

// crowded is a listener whose connections make a crowd.
type crowded struct {
	net.Listener
	crowd *crowd
}

// Accept waits for a connection that finds a place.
func (l *crowded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.crowd.admit(c); admitted != nil {
			return admitted, nil
		}
		_ = c.Close() // there are more who ask for health than can be
	}
}

// peerOf is whom an address counts as. An IPv6 network is one peer: its hosts have as
// many addresses as they like.
func peerOf(a net.Addr) netip.Prefix {
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
func (c *crowd) admit(raw net.Conn) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &conn{Conn: raw, crowd: c, peer: peerOf(raw.RemoteAddr()), quiet: time.Now()}
	switch {
	case c.peers[n.peer] >= c.places/2:
		n.vital = !c.evict(func(other *conn) bool { return !other.vital && other.peer == n.peer })
	case c.count[false] >= c.places:
		most := c.most()
		n.vital = !c.evict(func(other *conn) bool { return !other.vital && other.peer == most })
	}
	if n.vital && c.count[true] >= c.reserved && !c.evict(func(other *conn) bool { return other.vital }) {
		return nil
	}
	c.conns[n] = struct{}{}
	c.count[n.vital]++
	if !n.vital {
		c.peers[n.peer]++
	}
	return n
}

// most is the peer that has most connections.
func (c *crowd) most() (peer netip.Prefix) {
	for p, n := range c.peers {
		if n > c.peers[peer] {
			peer = p
		}
	}
	return peer
}

// evict closes the connection that has been silent longest among some, and reports
// whether there was one.
func (c *crowd) evict(among func(*conn) bool) bool {
	var silent *conn
	for n := range c.conns {
		if !n.quiet.IsZero() && among(n) && (silent == nil || n.quiet.Before(silent.quiet)) {
			silent = n
		}
	}
	if silent == nil {
		return false
	}
	c.remove(silent)
	_ = silent.Conn.Close() // whoever reads from it is told
	return true
}

// remove takes a connection out, once.
func (c *crowd) remove(n *conn) {
	if _, there := c.conns[n]; !there {
		return
	}
	delete(c.conns, n)
	c.count[n.vital]--
	if n.vital {
		return
	}
	if c.peers[n.peer]--; c.peers[n.peer] == 0 {
		delete(c.peers, n.peer)
	}
}

// NetConn returns the connection itself.
func (n *conn) NetConn() net.Conn { return n.Conn }

// Close closes the connection.
func (n *conn) Close() error {
	n.crowd.mu.Lock()
	n.crowd.remove(n)
	n.crowd.mu.Unlock()
	return n.Conn.Close()
}

// set says whether something is asked on the connection.
func (n *conn) set(asked bool) {
	n.crowd.mu.Lock()
	defer n.crowd.mu.Unlock()
	n.quiet = time.Time{}
	if !asked {
		n.quiet = time.Now()
	}
}

// connOf is the place of a connection, nil if it has come otherwise.
func connOf(c net.Conn) *conn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	n, _ := c.(*conn)
	return n
}

// noteState notes when nothing is asked any more on a connection.
func noteState(c net.Conn, state http.ConnState) {
	if n := connOf(c); n != nil && state == http.StateIdle {
		n.set(false)
	}
}

// attend notes that something is asked on the request's connection, and refuses what that
// has no place for.
func attend(w http.ResponseWriter, r *http.Request) error {
	c, _ := r.Context().Value(connectionKey{}).(net.Conn)
	n := connOf(c)
	if n == nil {
		return nil
	}
	n.set(!n.vital)
	if !n.vital {
		return nil
	}
	// It is answered at once. Who does not take that, or sends more, gives way.
	w.Header().Set("Connection", "close") // the place is for others who ask for health
	if vital(r.URL.Path) {
		return nil
	}
	return fmt.Errorf("%w: all connections are taken that this node has for you, those left are for its health alone", wire.ErrBusy)
}

// vital reports whether a path has places of its own: what supervisors and load balancers
// ask.
func vital(path string) bool {
	return path == wire.PathLive || path == wire.PathReady || strings.HasPrefix(path, wire.PathRole)
}
