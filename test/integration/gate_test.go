package integration_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// gate stands between a process and its etcd. It lets through what the process
// sends for as long as pass says so, asked before each piece, and then falls shut
// for good: nothing goes either way, and nobody is told.
type gate struct {
	address string
	target  string
	pass    func() bool
	shut    chan struct{} // closed when it has fallen shut

	listener net.Listener
	group    sync.WaitGroup
	end      sync.Once

	mu    sync.Mutex // guards the field below, and lets one piece through at a time
	conns []net.Conn
}

func newGate(t *testing.T, target string, pass func() bool) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{address: l.Addr().String(), target: target, pass: pass, shut: make(chan struct{}), listener: l}
	g.group.Go(g.serve)
	t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		g.group.Wait()
	})
	return g
}

func (g *gate) serve() {
	for {
		node, err := g.listener.Accept()
		if err != nil {
			return // closed with the test
		}
		etcd, err := net.Dial("tcp", g.target)
		if err != nil {
			_ = node.Close()
			continue
		}
		g.mu.Lock()
		g.conns = append(g.conns, node, etcd)
		g.mu.Unlock()
		g.group.Go(func() { g.carry(etcd, node, g.asked) })
		g.group.Go(func() { g.carry(node, etcd, g.open) })
	}
}

// carry brings bytes from one side to the other while it may.
func (g *gate) carry(to io.Writer, from io.Reader, may func() bool) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		if may() {
			_, _ = to.Write(piece[:n]) // a side that is gone is read to its end next
		}
	}
}

// asked asks whether one more piece may pass, and shuts the gate if not.
func (g *gate) asked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open() && !g.pass() {
		g.end.Do(func() { close(g.shut) })
	}
	return g.open()
}

func (g *gate) open() bool {
	select {
	case <-g.shut:
		return false
	default:
		return true
	}
}
