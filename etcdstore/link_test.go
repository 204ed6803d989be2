package etcdstore_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// link is an address at which an etcd is reached over a poor link.
type link struct {
	listener net.Listener
	rate     int64 // bytes a second each way, all connections together; 0 for any
	cutAfter int64 // bytes of etcd's after which a connection breaks; 0 for never
	carried  atomic.Int64
	broken   atomic.Int64
	turn     sync.Mutex // of who uses the link
	group    sync.WaitGroup
}

func (k *link) begin(t *testing.T, target string) {
	t.Helper()
	var err error
	if k.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	k.group.Go(func() {
		for {
			near, err := k.listener.Accept()
			if err != nil {
				return // closed with the test
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
			if err != nil {
				near.Close()
				continue
			}
			k.group.Go(func() { k.carry(far, near, 0) })
			k.group.Go(func() { k.carry(near, far, k.cutAfter) })
		}
	})
}

func (k *link) end() {
	k.listener.Close()
	k.group.Wait()
}

// carry brings bytes from one side to the other until one of them ends, or the link breaks.
func (k *link) carry(to io.WriteCloser, from io.ReadCloser, cutAfter int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 8<<10)
	for sent := int64(0); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if sent += int64(n); cutAfter != 0 && sent > cutAfter {
			k.broken.Add(1)
			return
		}
		if k.rate != 0 {
			k.turn.Lock()
			<-time.After(time.Duration(n) * time.Second / time.Duration(k.rate))
			k.turn.Unlock()
		}
		k.carried.Add(int64(n))
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// stock stores mementos of a size, some in a delta.
func (l *lab) stock(term driver.Term, mementos, size, together int) {
	l.t.Helper()
	for from := 0; from < mementos; from += together {
		var ops []rebind.Op
		for i := from; i < min(from+together, mementos); i++ {
			ops = append(ops, put(rebind.Name(fmt.Sprintf("entity/%05d", i)), strings.Repeat("x", size)))
		}
		_, err := l.commit(term, fmt.Sprint(from), 0, ops...)
		l.must(err)
	}
}

// loads loads all and returns how many there are, and how many pages told of bytes alone.
func (l *lab) loads(ctx context.Context, s driver.Store) (found, signs int, err error) {
	_, err = s.Load(ctx, func(p driver.Page) error {
		found += len(p.Changes)
		if len(p.Changes) == 0 && p.Bytes > 0 {
			signs++
		}
		return nil
	})
	return found, signs, err
}

// Promise: a load over a slow link takes its time and ends, however long each message
// takes; meanwhile it says that it advances. A write that takes longer than a small one
// may is stored as well.
func TestLoad_OverASlowLink(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	l := newLab(t)
	const mementos, size = 12, 500 << 10 // etcd's first message is of ten
	l.stock(l.elect(l.join("a")), mementos, size, 2)
	k := link{rate: 220 << 10}
	k.begin(t, l.endpoint)
	defer k.end()
	cfg := l.config()
	cfg.Endpoints = []string{k.listener.Addr().String()}
	s := l.open(cfg)
	defer func() { l.must(s.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	found, signs, err := l.loads(ctx, s)
	if took := time.Since(began); err != nil || found != mementos || signs < 5 || took < 20*time.Second {
		t.Errorf("loaded %d in %s with %d signs of life: %v", found, took, signs, err)
	}
}

// Promise: a large write over a slow link is stored, though it takes longer than a small
// one may.
func TestCommit_OverASlowLink(t *testing.T) {
	l := newLab(t)
	k := link{rate: 200 << 10}
	k.begin(t, l.endpoint)
	defer k.end()
	cfg := l.config()
	cfg.Endpoints = []string{k.listener.Addr().String()}
	l.stores["a"] = l.open(cfg)
	defer func() { l.must(l.stores["a"].Close()); delete(l.stores, "a") }()
	term := l.elect(l.join("a"))
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := term.Commit(context.WithoutCancel(ctx), driver.Writes(rebind.Delta{ID: "large", Ops: []rebind.Op{put("entity/large", strings.Repeat("x", 1<<20))}}, []rebind.Revision{0}))
	if err != nil || time.Since(began) < 3*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// Promise: a load whose connections break goes on where it was, at the same revision,
// whichever way etcd offers.
func TestLoad_GoesOnWhereItBroke(t *testing.T) {
	for _, way := range []string{"stream", "pages"} {
		t.Run(way, func(t *testing.T) {
			l := newLab(t)
			const mementos, size = 400, 50 << 10
			l.stock(l.elect(l.join("a")), mementos, size, 20)
			k := link{cutAfter: 5 << 20}
			k.begin(t, l.endpoint)
			defer k.end()
			cfg := l.config()
			cfg.Endpoints = []string{k.listener.Addr().String()}
			s := l.open(cfg)
			defer func() { l.must(s.Close()) }()
			if way == "pages" {
				etcdstore.SetKV(s, func(kv clientv3.KV) clientv3.KV { return &older{KV: kv} })
			}
			next := 0
			at, err := s.Load(l.ctx(), func(p driver.Page) error {
				for _, c := range p.Changes {
					if want := rebind.Name(fmt.Sprintf("entity/%05d", next)); c.Name != want || len(c.Memento.Payload) != size {
						t.Fatalf("%s, want %s", c.Name, want)
					}
					next++
				}
				return nil
			})
			if err != nil || next != mementos || at == 0 || k.broken.Load() < 3 {
				t.Errorf("loaded %d, and the link broke %d times: %v", next, k.broken.Load(), err)
			}
			if all := int64(mementos * size); k.carried.Load() > 3*all {
				t.Errorf("%d bytes came for %d", k.carried.Load(), all)
			}
		})
	}
}

// replaced is an etcd that breaks a stream off, and serves the rest from another history.
type replaced struct {
	clientv3.KV
	another func() (revision int64)
	streams int
}

func (r *replaced) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	if r.streams++; r.streams > 1 {
		return r.KV.GetStream(ctx, key, append(opts, clientv3.WithRev(r.another()))...)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.KV.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	pieces := make(chan clientv3.RangeStreamResponse, 1000)
	for piece := range stream {
		pieces <- piece
		cancel()
	}
	close(pieces)
	return pieces, nil
}

// Promise: pieces of two histories are never taken for one: a store may be replaced while
// a load is broken.
func TestLoad_IsOfOneHistory(t *testing.T) {
	l := newLab(t)
	const mementos = 400
	l.stock(l.elect(l.join("a")), mementos, 50<<10, 20)
	last := l.key(fmt.Sprintf("mementos/entity/%05d", mementos-1))
	etcdstore.SetKV(l.node("reader"), func(kv clientv3.KV) clientv3.KV {
		return &replaced{KV: kv, another: func() int64 {
			resp, err := l.raw.Put(l.ctx(), last, etcdstore.Encode(&rebind.Content{Payload: []byte("other")}, "z", 1, "other"))
			l.must(err)
			return resp.Header.Revision
		}}
	})
	if found, _, err := l.loads(l.ctx(), l.node("reader")); err == nil || !strings.Contains(err.Error(), "history") {
		t.Errorf("loaded %d: %v", found, err)
	}
	if found, _, err := l.loads(l.ctx(), l.node("a")); err != nil || found != mementos {
		t.Errorf("loaded %d: %v", found, err)
	}
}
