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

// crowded serves the API of a node on a listener for a crowd of that size.
type crowded struct {
	t       *testing.T
	address string
	places  int // for whatever is asked
	spare   int // for health alone
}

func newCrowded(t *testing.T, most int) *crowded {
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
	return &crowded{t, l.Addr().String(), places, spare}
}

// from connects from an address of this machine and sends text.
func (c *crowded) from(peer, text string) net.Conn {
	c.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(peer)}, Timeout: patience}
	conn, err := d.Dial("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// ask asks for a path from an address and returns the status; 0 if there is no answer.
func (c *crowded) ask(peer, path string) int {
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

// watch opens watches from an address and waits until they have begun.
func (c *crowded) watch(peer string, n int) []net.Conn {
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

// want wants a path to be answered so, from an address.
func (c *crowded) want(peer, path string, status int) {
	c.t.Helper()
	if got := c.ask(peer, path); got != status {
		c.t.Errorf("%s asks for %s and gets %d, want %d", peer, path, got, status)
	}
}

var vital = []string{wire.PathLive, wire.PathReady, "/role/hot_backup"}

// Promise: connections on which nothing is asked, or not all of a request, keep nobody
// out, however many they are and whosesoever.
func TestCrowd_TheSilentGiveWay(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "half a header": "GET /livez HTTP/1.1\r\nHost: a\r\n", "a request that is over": "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			c := newCrowded(t, 100)
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

// Promise: a peer whose requests are under way has at most half of the places; the others
// have theirs, and it is still told of the node's health.
func TestCrowd_APeerHasHalf(t *testing.T) {
	c := newCrowded(t, 100)
	first := c.watch("127.0.0.1", c.places/2)
	for range 3 {
		c.want("127.0.0.1", wire.PathNode, http.StatusServiceUnavailable)
		c.want("127.0.0.2", wire.PathNode, http.StatusOK)
		for _, path := range vital {
			c.want("127.0.0.1", path, http.StatusOK)
		}
	}
	c.watch("127.0.0.2", c.places/2)
	c.want("127.0.0.3", wire.PathNode, http.StatusServiceUnavailable) // that is all of them
	for _, path := range vital {
		c.want("127.0.0.3", path, http.StatusOK)
	}
	_ = first[0].Close()
	limit := time.Now().Add(patience)
	for c.ask("127.0.0.3", wire.PathNode) != http.StatusOK {
		if time.Now().After(limit) {
			t.Fatal("a place that became free is not given to another")
		}
	}
}

// Promise: the places for health are for those who ask for it, though others hold on to
// them: silent, with half a request, or one after the other.
func TestCrowd_HealthKeepsItsPlaces(t *testing.T) {
	c := newCrowded(t, 100)
	c.watch("127.0.0.1", c.places/2)
	over := make(chan struct{})
	var crowding sync.WaitGroup
	defer crowding.Wait()
	defer close(over)
	for i, text := range []string{"", "GET /livez HTTP/1.1\r\nHost: a\r\n", "GET /v1/node HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for range c.spare {
			c.from("127.0.0.1", text)
		}
		crowding.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond):
				}
				d := net.Dialer{Timeout: patience}
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

// Promise: a place for health that was made use of is free again, though the client does
// not take part in the end: it holds back a body that it has announced.
func TestCrowd_HealthGivesWayToHealth(t *testing.T) {
	c := newCrowded(t, 100)
	c.watch("127.0.0.1", c.places/2)
	for range 2 * c.spare {
		c.from("127.0.0.1", "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx")
	}
	for _, path := range vital {
		c.want("127.0.0.1", path, http.StatusOK)
	}
}

func TestCrowd_PeersOfIPv6AreNetworks(t *testing.T) {
	same := func(a, b string) bool {
		return httpapi.PeerPrefix(&net.TCPAddr{IP: net.ParseIP(a)}) == httpapi.PeerPrefix(&net.TCPAddr{IP: net.ParseIP(b)})
	}
	if !same("2001:db8::1", "2001:db8::ffff:2") || same("2001:db8::1", "2001:db8:0:1::1") || !same("192.0.2.1", "::ffff:192.0.2.1") || same("192.0.2.1", "192.0.2.2") {
		t.Error("peers are told apart otherwise")
	}
}
