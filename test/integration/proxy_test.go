package integration_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between one node and its etcd. It can hold back what goes either
// way, as a network does that loses packets: the connections stay, and what was
// held arrives late.
type proxy struct {
	address           string
	requests, answers valve
	group             sync.WaitGroup
}

// newProxy starts a proxy to an address. Nodes that use it end before it does.
func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String()}
	p.requests.ctx, p.answers.ctx = t.Context(), t.Context()
	t.Cleanup(func() { l.Close(); p.group.Wait() })
	p.group.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			p.group.Go(func() { p.requests.carry(far, near) })
			p.group.Go(func() { p.answers.carry(near, far) })
		}
	})
	return p
}

// valve lets what goes one way pass until it is shut.
type valve struct {
	ctx context.Context

	mu    sync.Mutex    // guards the field below
	shutc chan struct{} // closed when the valve opens again; nil while it is open
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shutc = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.shutc)
	v.shutc = nil
}

// carry copies from one side to the other for as long as both are there.
func (v *valve) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	_, _ = io.Copy(passing{to, v}, from) // how it ends makes no difference
}

// passing is a connection behind a valve.
type passing struct {
	to    io.Writer
	valve *valve
}

func (p passing) Write(b []byte) (int, error) {
	p.valve.mu.Lock()
	opened := p.valve.shutc
	p.valve.mu.Unlock()
	if opened != nil {
		select {
		case <-opened:
		case <-p.valve.ctx.Done():
			return 0, context.Cause(p.valve.ctx)
		}
	}
	return p.to.Write(b)
}
