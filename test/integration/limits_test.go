package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// nuisance is a client that keeps a connection for itself: it sends head, and then a
// little of drip each second, and never comes to an end.
type nuisance struct{ head, drip string }

// plague has a connection plagued until the node cuts it, and returns after how long that
// was and what the node said. The error is for the test itself being over.
func (n nuisance) plague(ctx context.Context, address string) (kept time.Duration, said string, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	began := time.Now()
	if _, err := io.WriteString(conn, n.head); err != nil {
		return time.Since(began), "", nil
	}
	part := make([]byte, 4<<10)
	for {
		if ctx.Err() != nil {
			return 0, said, ctx.Err()
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return 0, said, err
		}
		got, err := conn.Read(part)
		said += string(part[:got])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return time.Since(began), said, nil
		}
		if _, err := io.WriteString(conn, n.drip); err != nil {
			return time.Since(began), said, nil
		}
	}
}

// flood plagues a node with clients that never come to their request, each again and
// again until ctx ends, and counts those that were cut.
func (p *process) flood(ctx context.Context, size int, cut *atomic.Int64) (wait func()) {
	kinds := []nuisance{
		{"GET /v1/node HTTP/1.1\r\nHost: a\r\n", "X-More: 1\r\n"}, // a header without end
		{"GET /v1/no", ""}, // half a line
		{"", ""},           // nothing at all
	}
	var all sync.WaitGroup
	for i := range size {
		kind := kinds[i%len(kinds)]
		all.Go(func() {
			for ctx.Err() == nil {
				kept, _, err := kind.plague(ctx, p.address())
				switch {
				case err != nil && ctx.Err() == nil:
					p.t.Errorf("no connection: %v", err)
					return
				case err == nil && kept > 5*time.Second+slack:
					p.t.Errorf("%q was borne for %s", kind.head, kept)
				case err == nil:
					cut.Add(1)
				}
			}
		})
	}
	return all.Wait
}

// endless sends bodies that do not end, and wants each to be refused in its time. The
// channel is closed when all were.
func (p *process) endless(ctx context.Context, bodies int) <-chan struct{} {
	var all, watched sync.WaitGroup
	for i := range bodies {
		all.Go(func() {
			head := fmt.Sprintf("PUT /v1/mementos/entity/endless%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", i)
			kept, said, err := nuisance{head, "x"}.plague(ctx, p.address())
			if err != nil || kept > 30*time.Second+slack || !strings.HasPrefix(said, "HTTP/1.1 400") {
				p.t.Errorf("a body without end was borne for %s and told %.100q, %v", kept, said, err)
			}
		})
	}
	over := make(chan struct{})
	watched.Go(func() { all.Wait(); close(over) })
	p.t.Cleanup(watched.Wait)
	return over
}

// address is that of its API.
func (p *process) address() string { return strings.TrimPrefix(p.url, "http://") }

// Promise: 500 clients that keep connections and never come to their request, and those
// whose body never ends, are cut off one after the other. Meanwhile others are answered,
// and the master keeps its lease and its term.
func TestLimits_NuisancesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	const size = 500
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	b.await("HOT_STANDBY")
	_, before := c.led()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	var cut atomic.Int64
	gone := a.flood(ctx, size, &cut)
	over := a.endless(ctx, 20)

	served, slowest := 0, time.Duration(0)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for going := true; going; served++ {
		select {
		case <-tick.C:
		case <-over:
			going = false
		}
		began := time.Now()
		payload := fmt.Sprint(served)
		b.mustPut("entity/x", payload) // forwarded to the node that is plagued
		if err := errors.Join(a.reads("entity/x", payload), a.role("writable", http.StatusOK), a.is("MASTER")); err != nil {
			t.Error(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	enough()
	gone()
	t.Logf("%d rounds of a write and three reads, the slowest in %s; %d connections were cut", served, slowest.Round(time.Millisecond), cut.Load())
	if slowest > slack {
		t.Errorf("others waited for up to %s", slowest)
	}
	if cut.Load() < size {
		t.Errorf("%d connections were cut, want each of %d at least once", cut.Load(), size)
	}
	if master, after := c.led(); master != a || after != before {
		t.Errorf("%s leads term %d, want a and term %d", master.name, after, before)
	}
	c.judge()
}

// resident is how much memory the process has, in MiB.
func (p *process) resident() int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("memory is looked at in /proc")
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib >> 10
		}
	}
	p.t.Fatalf("no resident memory in %s", status)
	return 0
}

// Promise: 64 clients that ask for everything, or send nearly all of a body, and then do
// nothing, take 100 MiB at most; the lease, health and others' requests are unharmed.
func TestLimits_ClientsThatReadNothing(t *testing.T) {
	t.Parallel()
	const clients, most = 64, 100
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	large := strings.Repeat("x", 100<<10)
	for i := range 120 { // 12 MB
		a.mustPut(fmt.Sprintf("blob/b%d", i), large)
	}
	_, term := c.led()
	for name, text := range map[string]string{
		"list":   "GET /v1/mementos?values=true&limit=5000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"export": "GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"plane":  "GET /v1/plane HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"batch":  "POST /v1/mementos/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n" + strings.Repeat(" ", 4<<20-1),
	} {
		before, grown := a.resident(), 0
		var sending sync.WaitGroup
		conns := make([]net.Conn, clients)
		for i := range conns {
			conn, err := net.Dial("tcp", a.address())
			if err != nil {
				t.Fatal(err)
			}
			conns[i] = conn
			sending.Go(func() { _, _ = io.WriteString(conn, text) }) // until it is cut
		}
		for i := range 20 {
			payload := fmt.Sprint(name, i)
			began := time.Now()
			a.mustPut("entity/x", payload)
			if err := errors.Join(a.reads("entity/x", payload), a.role("writable", http.StatusOK), a.role("master", http.StatusOK), a.is("MASTER")); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > slack {
				t.Errorf("%s: others waited for %s", name, took)
			}
			grown = max(grown, a.resident()-before)
			<-time.After(100 * time.Millisecond)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		sending.Wait()
		t.Logf("%s: %d MiB more", name, grown)
		if grown > most {
			t.Errorf("%s: %d clients take %d MiB", name, clients, grown)
		}
	}
	if master, after := c.led(); master != a || after != term {
		t.Errorf("%s leads term %d, want a and term %d", master.name, after, term)
	}
}
