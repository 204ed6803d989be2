package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// cutter stands between a process and its etcd. It can swallow what goes the one way
// or the other, and cut every connection; new ones are taken at once.
type cutter struct {
	address  string
	target   string
	listener net.Listener
	group    sync.WaitGroup

	mu          sync.Mutex // guards the fields below
	asks, tells bool       // swallow what the process asks, and what etcd tells
	conns       []net.Conn
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{address: l.Addr().String(), target: target, listener: l}
	c.group.Go(c.serve)
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		c.group.Wait()
	})
	return c
}

func (c *cutter) serve() {
	for {
		node, err := c.listener.Accept()
		if err != nil {
			return // closed with the test
		}
		etcd, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = node.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, node, etcd)
		c.mu.Unlock()
		c.group.Go(func() { c.carry(etcd, node, &c.asks) })
		c.group.Go(func() { c.carry(node, etcd, &c.tells) })
	}
}

// carry brings bytes from one side to the other, but for what is to be swallowed.
func (c *cutter) carry(to, from net.Conn, swallow *bool) {
	defer to.Close() // so that the other side learns of it
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		c.mu.Lock()
		lost := *swallow
		c.mu.Unlock()
		if lost {
			continue
		}
		if _, err := io.Writer(to).Write(piece[:n]); err != nil {
			return
		}
	}
}

// swallow has what goes one way, or both, not arrive.
func (c *cutter) swallow(asks, tells bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks, c.tells = asks, tells
}

// cut ends all connections, and lets new ones carry everything.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns, c.asks, c.tells = nil, false, false
}

// committed blocks until a memento is written, and tells whether one was in time.
func (c *cluster) committed(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	resp, ok := <-c.raw.Watch(ctx, "/coordinator/"+c.plane+"/mementos/", clientv3.WithPrefix())
	return ok && len(resp.Events) > 0
}

// insist puts mementos through nodes, each with a key, and sends each again and again
// until it is told that it is stored. It writes none of them over: a key is known for
// as long as the memento carries it.
func (w *writers) insist(ctx context.Context, t *testing.T, through ...*process) {
	for k := 0; ctx.Err() == nil; k++ {
		op := w.ask("insister", fmt.Sprintf("insisted/%d", k), fmt.Sprintf("insisted %d", k))
		name, payload := op.Changes[0].Name, op.Changes[0].Payload
		var stored *answer
		for try := 0; stored == nil && ctx.Err() == nil; try++ {
			bounded, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			a, err := call(bounded, http.MethodPut, through[try%len(through)].url+"/v1/mementos/"+name,
				map[string]string{"Idempotency-Key": fmt.Sprint("key-", k)}, []byte(payload))
			cancel()
			switch {
			case err == nil && a.status/100 == 2:
				stored = a
			case err == nil && a.status != http.StatusGatewayTimeout && a.status != http.StatusServiceUnavailable:
				t.Errorf("put of %s: %d %s", name, a.status, a.body)
			}
		}
		if stored != nil {
			w.answered(op, stored, nil)
		} else {
			w.answered(op, nil, ctx.Err())
		}
	}
}

// Promise: however often the connection breaks between a commit and its answer, each
// write is applied once or never, and its writer is told the truth: stored, not
// stored, or unknown. One that is sent again with its key is stored once.
func TestDoubt_ConnectionsCutBetweenCommitAndAnswer(t *testing.T) {
	t.Parallel()
	const rounds = 40
	c := newCluster(t, 4*time.Second)
	between := newCutter(t, c.endpoint)
	behind := *c
	behind.endpoint = between.address
	a := behind.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	b.await("HOT_STANDBY")
	w := startWriters(t, 4, a, b)
	insisting, enough := context.WithCancel(t.Context())
	defer enough()
	w.group.Go(func() { w.insist(insisting, t, a, b) })
	w.more(t, 40)

	doubtful := 0
	for i := range rounds {
		switch i % 4 {
		case 0, 1: // etcd has written, and cannot say so
			between.swallow(false, true)
			if c.committed(time.Second) {
				doubtful++
			}
		case 2: // etcd is not asked
			between.swallow(true, false)
			c.committed(30 * time.Millisecond)
		case 3: // at any moment
			c.committed(time.Second)
		}
		between.cut()
		w.more(t, 10)
	}
	// The last doubt lasts until another one leads.
	between.swallow(false, true)
	b.await("MASTER")
	between.cut()
	w.more(t, 40)

	enough()
	told := w.stop()
	t.Logf("%d of %d rounds left writes in doubt", doubtful, rounds)
	if doubtful < rounds/4 {
		t.Errorf("%d rounds left writes in doubt, the test shows little", doubtful)
	}
	found := c.judge(told...)
	insisted := 0
	for name := range found.Written {
		if strings.HasPrefix(name, "insisted/") {
			insisted++
		}
	}
	if insisted < rounds {
		t.Errorf("%d writes with a key, the test shows little", insisted)
	}
}
