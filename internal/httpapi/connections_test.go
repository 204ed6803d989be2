// This file tests the limits on connections.

package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// limitedServer serves a node's API on a listener that is limited to a number of connections.
type limitedServer struct {
	t           *testing.T
	address     string
	slots       int // for any request
	healthSlots int // for health checks only
}

func newLimitedServer(t *testing.T, most int) *limitedServer {
	t.Helper()
	a := newPlane(t).join("a", modes.HotBackup, modes.StateHotBackup)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := a.api.HTTPServer()
	bounded := fewFiles(t, l, uint64(2*most))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(bounded) })
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	places, spare := httpapi.Slots(bounded)
	return &limitedServer{t, l.Addr().String(), places, spare}
}

// from connects from an address of this machine and sends text.
func (c *limitedServer) from(peer, text string) net.Conn {
	c.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(peer)}, Timeout: waitLimit}
	conn, err := d.Dial("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	if _, err := io.WriteString(conn, text); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// ask requests a path from an address and returns the status, or 0 if there is no answer.
func (c *limitedServer) ask(peer, path string) int {
	c.t.Helper()
	conn := c.from(peer, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// watch opens watches from an address and waits until they have started.
func (c *limitedServer) watch(peer string, n int) []net.Conn {
	c.t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = c.from(peer, "GET /v1/watch HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(conns[i]), nil); err != nil || resp.StatusCode != http.StatusOK {
			c.t.Fatalf("watch %d of %s: %v, %v", i, peer, resp, err)
		}
	}
	return conns
}

// want checks the status of a path that is requested from an address.
func (c *limitedServer) want(peer, path string, status int) {
	c.t.Helper()
	if got := c.ask(peer, path); got != status {
		c.t.Errorf("%s asks for %s and gets %d, want %d", peer, path, got, status)
	}
}

var vital = []string{wire.PathLive, wire.PathReady, "/role/hot_backup"}

// Promise: idle connections and unfinished requests keep nobody out, however many they are and
// wherever they come from.
func TestConnections_IdleOnesAreEvicted(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "half a header": "GET /livez HTTP/1.1\r\nHost: a\r\n", "a request that is over": "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			c := newLimitedServer(t, 100)
			for range 3 {
				for range 100 {
					c.from("127.0.0.1", text)
				}
				for _, peer := range []string{"127.0.0.1", "127.0.0.2"} {
					for _, path := range append(vital, wire.PathNode) {
						c.want(peer, path, http.StatusOK)
					}
				}
			}
		})
	}
}

// Promise: a peer has at most half of the slots for requests in progress. Other peers have
// theirs, and the first peer still gets health checks answered.
func TestConnections_APeerHasHalf(t *testing.T) {
	c := newLimitedServer(t, 100)
	first := c.watch("127.0.0.1", c.slots/2)
	for range 3 {
		c.want("127.0.0.1", wire.PathNode, http.StatusServiceUnavailable)
		c.want("127.0.0.2", wire.PathNode, http.StatusOK)
		for _, path := range vital {
			c.want("127.0.0.1", path, http.StatusOK)
		}
	}
	c.watch("127.0.0.2", c.slots/2)
	c.want("127.0.0.3", wire.PathNode, http.StatusServiceUnavailable) // all slots are taken
	for _, path := range vital {
		c.want("127.0.0.3", path, http.StatusOK)
	}
	_ = first[0].Close()
	limit := time.Now().Add(waitLimit)
	for c.ask("127.0.0.3", wire.PathNode) != http.StatusOK {
		if time.Now().After(limit) {
			t.Fatal("a place that became free is not given to another")
		}
	}
}

// Promise: the slots for health checks serve health checks, although other clients occupy them:
// with idle connections, unfinished requests, or one after the other.
func TestConnections_HealthKeepsItsSlots(t *testing.T) {
	c := newLimitedServer(t, 100)
	c.watch("127.0.0.1", c.slots/2)
	over := make(chan struct{})
	var crowding sync.WaitGroup
	defer crowding.Wait()
	defer close(over)
	for i, text := range []string{"", "GET /livez HTTP/1.1\r\nHost: a\r\n", "GET /v1/node HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for range c.healthSlots {
			c.from("127.0.0.1", text)
		}
		crowding.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond):
				}
				d := net.Dialer{Timeout: waitLimit}
				conn, err := d.Dial("tcp", c.address)
				if err != nil {
					continue
				}
				_, _ = fmt.Fprint(conn, text)
				if n%2 == i%2 {
					defer conn.Close()
				} else {
					_ = conn.Close()
				}
			}
		})
	}
	for range 50 {
		for _, path := range vital {
			c.want("127.0.0.1", path, http.StatusOK)
		}
	}
}

// Promise: the slot of a health check becomes free after the answer, although its client does
// not send the body that it has announced.
func TestConnections_HealthEvictsHealth(t *testing.T) {
	c := newLimitedServer(t, 100)
	c.watch("127.0.0.1", c.slots/2)
	for range 2 * c.healthSlots {
		c.from("127.0.0.1", "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx")
	}
	for _, path := range vital {
		c.want("127.0.0.1", path, http.StatusOK)
	}
}

func TestConnections_PeersOfIPv6AreNetworks(t *testing.T) {
	same := func(a, b string) bool {
		return httpapi.PeerPrefix(&net.TCPAddr{IP: net.ParseIP(a)}) == httpapi.PeerPrefix(&net.TCPAddr{IP: net.ParseIP(b)})
	}
	if !same("2001:db8::1", "2001:db8::ffff:2") || same("2001:db8::1", "2001:db8:0:1::1") || !same("192.0.2.1", "::ffff:192.0.2.1") || same("192.0.2.1", "192.0.2.2") {
		t.Error("peers are told apart otherwise")
	}
}
