package etcdstore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// younger is a store that says, once it is told to, that it is at an early revision.
type younger struct {
	clientv3.KV
	now atomic.Bool
	at  atomic.Int64
}

func (y *younger) seen(h *pb.ResponseHeader) {
	if y.now.Load() {
		h.Revision = y.at.Load()
	}
}

// Get implements clientv3.KV.
func (y *younger) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := y.KV.Get(ctx, key, opts...)
	if err == nil {
		y.seen(resp.Header)
	}
	return resp, err
}

// Put implements clientv3.KV.
func (y *younger) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	resp, err := y.KV.Put(ctx, key, value, opts...)
	if err == nil {
		y.seen(resp.Header)
	}
	return resp, err
}

// Delete implements clientv3.KV.
func (y *younger) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	resp, err := y.KV.Delete(ctx, key, opts...)
	if err == nil {
		y.seen(resp.Header)
	}
	return resp, err
}

// Txn implements clientv3.KV.
func (y *younger) Txn(ctx context.Context) clientv3.Txn { return &youngerTxn{y.KV.Txn(ctx), y} }

type youngerTxn struct {
	clientv3.Txn
	store *younger
}

func (t *youngerTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *youngerTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *youngerTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *youngerTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if err == nil {
		t.store.seen(resp.Header)
	}
	return resp, err
}

// on is what calls are made on.
type on struct {
	s    driver.Store
	m    driver.Presence
	term driver.Term
}

// Promise: whatever is asked of etcd, an answer that is older than what was known ends
// what rests on the store that there was.
func TestStore_EveryAnswerIsLookedAt(t *testing.T) {
	record := recordOf("a")
	calls := map[string]func(context.Context, on) error{
		"head":    func(ctx context.Context, o on) error { _, err := o.s.Head(ctx); return err },
		"plane":   func(ctx context.Context, o on) error { _, err := o.s.Plane(ctx); return err },
		"size":    func(ctx context.Context, o on) error { _, err := o.s.Size(ctx); return err },
		"history": func(ctx context.Context, o on) error { _, err := o.s.History(ctx); return err },
		"load": func(ctx context.Context, o on) error {
			_, err := o.s.Load(ctx, func(driver.Page) error { return nil })
			return err
		},
		"tally": func(ctx context.Context, o on) error { _, err := o.s.Tally(ctx, o.term.Revision()); return err },
		"past": func(ctx context.Context, o on) error {
			_, _, err := o.s.Past(ctx, o.term.Revision(), "", 1)
			return err
		},
		"pause":    func(ctx context.Context, o on) error { return o.s.Pause(ctx, driver.Pause{}) },
		"resume":   func(ctx context.Context, o on) error { return o.s.Resume(ctx) },
		"forget":   func(ctx context.Context, o on) error { return o.s.Forget(ctx, "nobody") },
		"writable": func(ctx context.Context, o on) error { return o.s.Writable(ctx, record) },
		"join": func(ctx context.Context, o on) error {
			_, err := o.s.Join(ctx, recordOf("other"))
			return err
		},
		"publish":      func(ctx context.Context, o on) error { return o.m.Publish(ctx, record) },
		"term publish": func(ctx context.Context, o on) error { return o.term.Publish(ctx, record) },
		"announce": func(ctx context.Context, o on) error {
			return o.term.Announce(ctx, record, driver.HistoryEntry{Term: 1})
		},
		"offer": func(ctx context.Context, o on) error { return o.term.Offer(ctx, &driver.Offer{}) },
		"bury": func(ctx context.Context, o on) error {
			return o.term.RecordDeparture(ctx, driver.Departed{Record: recordOf("gone"), Was: modes.StateStandby})
		},
		"clear":    func(ctx context.Context, o on) error { _, err := o.term.Clear(ctx); return err },
		"rehearse": func(ctx context.Context, o on) error { return o.term.CheckHandover(ctx, driver.Member{}) },
		"commit": func(ctx context.Context, o on) error {
			_, err := o.term.Commit(ctx, driver.Writes(rebind.Delta{ID: "op", Ops: []rebind.Op{put("entity/x", "1")}}, []rebind.Revision{0}))
			return err
		},
		"refused commit": func(ctx context.Context, o on) error {
			_, err := o.term.Commit(ctx, driver.Writes(rebind.Delta{ID: "op", Ops: []rebind.Op{put("entity/x", "1")}}, []rebind.Revision{7}))
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			old := &younger{}
			etcdstore.SetKV(l.node("a"), func(kv clientv3.KV) clientv3.KV { old.KV = kv; return old })
			m := l.join("a")
			o := on{l.node("a"), m, l.elect(m)}
			if _, err := o.s.Plane(l.ctx()); err != nil {
				t.Fatal(err)
			}
			old.now.Store(true)
			_ = call(l.ctx(), o) // whatever it brings
			old.now.Store(false) // what else is asked shows nothing
			select {
			case <-m.Lost():
			case <-time.After(3 * time.Second):
				t.Fatal("presence goes on")
			}
			if cause := m.Cause(); !errors.Is(cause, driver.ErrRestored) {
				t.Errorf("cause = %v, want ErrRestored", cause)
			}
		})
	}
}

// Promise: what a watch has brought is as good as an answer.
func TestStore_EventsAreRemembered(t *testing.T) {
	l := newLab(t)
	s := l.node("a")
	head, err := s.Head(l.ctx())
	if err != nil {
		t.Fatal(err)
	}
	old := &younger{}
	etcdstore.SetKV(s, func(kv clientv3.KV) clientv3.KV { old.KV = kv; return old })
	watch := s.Watch(l.ctx(), head)
	defer watch.Close()
	writer := l.elect(l.join("b"))
	rev, err := l.commit(writer, "op", 0, put("entity/x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := watch.Next(l.ctx()); err != nil || b.Revision != rev {
		t.Fatalf("watch brings %+v, %v", b, err)
	}
	old.at.Store(int64(rev) - 1)
	old.now.Store(true)
	if _, err := s.Head(l.ctx()); !errors.Is(err, driver.ErrRestored) {
		t.Errorf("head below an event = %v, want ErrRestored", err)
	}
}

// Promise: a watch does not go on over another connection, behind which there may be
// another store.
func TestWatch_EndsWithItsConnection(t *testing.T) {
	f := newFront(t)
	f.up(t.TempDir())
	s := f.open()
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	watch := s.Watch(t.Context(), head)
	defer watch.Close()
	followed := make(chan error, 1)
	seen := make(chan struct{}, 100)
	f.group.Go(func() { followed <- s.Follow(t.Context(), func(driver.Plane) { seen <- struct{}{} }) })
	<-seen
	f.drop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if b, err := watch.Next(ctx); !errors.Is(err, rebind.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("watch brings %+v, %v, want that it ends", b, err)
	}
	if err := watch.Progress(ctx); !errors.Is(err, rebind.ErrUnavailable) {
		t.Errorf("Progress = %v, want that there is nothing to ask", err)
	}
	select {
	case err := <-followed:
		if !errors.Is(err, rebind.ErrUnavailable) {
			t.Errorf("Follow = %v", err)
		}
	case <-ctx.Done():
		t.Error("Follow goes on over another connection")
	}
}
