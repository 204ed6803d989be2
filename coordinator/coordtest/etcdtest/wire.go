package etcdtest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// wire carries the bytes of one process to etcd and back, unless it is cut.
type wire struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	whole chan struct{}
	ended bool
	conns map[net.Conn]bool
}

// startWire listens on a free port of this machine.
func startWire(endpoint string) (*wire, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a connection to etcd: %w", err)
	}
	w := &wire{listener: listener, target: strings.TrimPrefix(endpoint, "http://"), conns: make(map[net.Conn]bool), whole: make(chan struct{})}
	close(w.whole)
	w.group.Go(w.accept)
	return w, nil
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			near.Close()
			continue
		}
		if !w.keep(near, far) {
			return
		}
		w.group.Go(func() { w.carry(far, near) })
		w.group.Go(func() { w.carry(near, far) })
	}
}

// keep remembers connections, or closes them where the wire is closed.
func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.ended {
			c.Close()
		} else {
			w.conns[c] = true
		}
	}
	return !w.ended
}

// carry brings bytes from one side to the other until one of them ends.
func (w *wire) carry(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		whole := w.whole
		w.mu.Unlock()
		<-whole
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut has bytes wait where they are, or ends that: then they arrive late.
func (w *wire) cut(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.whole:
		if on && !w.ended {
			w.whole = make(chan struct{})
		}
	default:
		if !on {
			close(w.whole)
		}
	}
}

func (w *wire) close() {
	w.listener.Close()
	w.mu.Lock()
	w.ended = true
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.cut(false)
	w.group.Wait()
}
