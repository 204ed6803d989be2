package etcdstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// older is an etcd before 3.7: it knows no stream of a range.
type older struct {
	clientv3.KV
	refused int
}

func (o *older) GetStream(context.Context, string, ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	o.refused++
	refusal := make(chan clientv3.RangeStreamResponse)
	close(refusal)
	return refusal, status.Error(codes.Unimplemented, "unknown method RangeStream")
}

// Promise: all mementos are loaded, once and in order, whichever way etcd offers.
func TestLoad_ByStreamAndByPages(t *testing.T) {
	l := newLab(t)
	term := l.elect(l.join("a"))
	const mementos = 3000
	value := strings.Repeat("x", 10<<10) // some pages and chunks of it
	for from := 0; from < mementos; from += 100 {
		var ops []rebind.Op
		for i := from; i < from+100; i++ {
			ops = append(ops, put(rebind.Name(fmt.Sprintf("entity/%05d", i)), value))
		}
		if _, err := term.Commit(l.ctx(), driver.Writes(rebind.Delta{ID: fmt.Sprint("op", from), Ops: ops}, make([]rebind.Revision, len(ops)))); err != nil {
			t.Fatal(err)
		}
	}
	s := l.node("a")
	load := func() (pages int) {
		next := 0
		at, err := s.Load(l.ctx(), func(p driver.Page) error {
			pages++
			if p.Total != mementos {
				t.Errorf("a page of %d", p.Total)
			}
			for _, c := range p.Changes {
				if want := fmt.Sprintf("entity/%05d", next); string(c.Name) != want || len(c.Memento.Payload) != len(value) {
					t.Fatalf("%s of %d bytes, want %s", c.Name, len(c.Memento.Payload), want)
				}
				next++
			}
			return nil
		})
		if head := l.get("x").Header.Revision; err != nil || next != mementos || int64(at) != head {
			t.Errorf("loaded %d at revision %d, %v, want %d at %d", next, at, err, mementos, head)
		}
		return pages
	}
	if pages := load(); pages < 5 {
		t.Errorf("a stream of %d pages", pages)
	}
	var old older
	etcdstore.SetKV(s, func(kv clientv3.KV) clientv3.KV { old.KV = kv; return &old })
	if pages := load(); old.refused != 1 || pages < 4 {
		t.Errorf("%d streams were refused, then %d pages", old.refused, pages)
	}
}

// busy is an etcd in which others write between any two reads.
type busy struct {
	clientv3.KV
	write func()
}

func (b *busy) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := b.KV.Get(ctx, key, opts...)
	b.write()
	return resp, err
}

// Promise: what is loaded is what was there at one revision, whatever is written
// meanwhile.
func TestLoad_IsOfOneRevision(t *testing.T) {
	for _, way := range []string{"stream", "pages"} {
		t.Run(way, func(t *testing.T) {
			l := newLab(t)
			term := l.elect(l.join("a"))
			const mementos = 200 // more than a page
			for from := 0; from < mementos; from += 100 {
				var ops []rebind.Op
				for i := from; i < from+100; i++ {
					ops = append(ops, put(rebind.Name(fmt.Sprintf("entity/%05d", i)), "before"))
				}
				_, err := l.commit(term, fmt.Sprint(from), 0, ops...)
				l.must(err)
			}
			last := l.key(fmt.Sprintf("mementos/entity/%05d", mementos-1))
			meanwhile := etcdstore.Encode(&rebind.Content{Payload: []byte("meanwhile")}, "z", 1, "other")
			etcdstore.SetKV(l.node("reader"), func(kv clientv3.KV) clientv3.KV {
				if way == "pages" {
					kv = &older{KV: kv}
				}
				return &busy{kv, func() {
					_, err := l.raw.Put(l.ctx(), last, meanwhile)
					l.must(err)
					_, err = l.raw.Put(l.ctx(), l.key("mementos/entity/more"), meanwhile)
					l.must(err)
				}}
			})
			head := l.get("x").Header.Revision
			found := 0
			at, err := l.node("reader").Load(l.ctx(), func(p driver.Page) error {
				for _, c := range p.Changes {
					found++
					if got := string(c.Memento.Payload); got != "before" {
						t.Errorf("%s is as of %s", c.Name, got)
					}
				}
				return nil
			})
			if err != nil || int64(at) != head || found != mementos {
				t.Errorf("loaded %d at revision %d, %v, want %d at %d", found, at, err, mementos, head)
			}
		})
	}
}
