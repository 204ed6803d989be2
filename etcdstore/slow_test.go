package etcdstore_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/etcdstore"
)

// Promise: a store that comes to be 800 ms away, there and back, costs nobody a
// lease, not even one of the shortest TTL that there is.
func TestLease_OutlivesALongWay(t *testing.T) {
	l := newLab(t)
	var delay atomic.Int64
	far, leave := farAway(t, l.endpoint, &delay)
	defer leave()
	cfg := l.config()
	cfg.TTL, cfg.Endpoints = etcdstore.MinTTL, []string{far}
	l.stores["a"] = l.open(cfg)
	defer func() { l.must(l.stores["a"].Close()) }()
	m := l.join("a")
	<-time.After(cfg.TTL / 2) // connections are made by now
	delay.Store(int64(400 * time.Millisecond))
	select {
	case <-m.Lost():
		t.Errorf("lost: %v", m.Cause())
	case <-time.After(3 * cfg.TTL):
	}
}

// Promise: a store that does not answer is told of before it costs the lease.
func TestLease_TellsOfAStoreThatDoesNotAnswer(t *testing.T) {
	l := newLab(t)
	var delay atomic.Int64
	far, leave := farAway(t, l.endpoint, &delay)
	defer leave()
	failed := make(chan error, 100)
	cfg := l.config()
	cfg.TTL, cfg.Endpoints = etcdstore.MinTTL, []string{far}
	cfg.OnRenewal = func(_ time.Duration, err error) {
		if err != nil {
			failed <- err
		}
	}
	l.stores["a"] = l.open(cfg)
	defer func() { l.must(l.stores["a"].Close()) }()
	m := l.join("a")
	delay.Store(int64(5 * time.Second))
	<-m.Lost()
	if len(failed) == 0 {
		t.Error("the lease is lost, and no renewal has failed")
	}
}

// farAway returns an address at which the same is served, later by a delay each way,
// and what ends that when all who came have left.
func farAway(t *testing.T, target string, delay *atomic.Int64) (address string, leave func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed with the test
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			group.Go(func() { carryLate(far, near, delay) })
			group.Go(func() { carryLate(near, far, delay) })
		}
	})
	return listener.Addr().String(), func() {
		listener.Close()
		group.Wait()
	}
}

// carryLate brings bytes from one side to the other, in order, and closes it then.
func carryLate(to io.WriteCloser, from io.Reader, delay *atomic.Int64) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	under := make(chan piece, 1024)
	var group sync.WaitGroup
	group.Go(func() {
		defer to.Close()
		for p := range under {
			<-time.After(time.Until(p.due))
			_, _ = to.Write(p.bytes) // a side that is gone is read to its end
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		under <- piece{buf[:n], time.Now().Add(time.Duration(delay.Load()))}
	}
	close(under)
	group.Wait()
}
