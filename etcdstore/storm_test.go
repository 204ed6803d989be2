package etcdstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// storm is etcd behind a connection on which nothing can be relied: of three writes
// one loses its answer, is lost itself, or comes late, when nobody expects it.
type storm struct {
	clientv3.KV
	late sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	random *rand.Rand
	struck int
	calm   bool
}

func (s *storm) fault() (f fault, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calm || s.random.IntN(3) > 0 {
		return none, 0
	}
	s.struck++
	f = []fault{loseAnswer, loseRequest, comeLate}[s.random.IntN(3)]
	return f, time.Duration(s.random.IntN(120)) * time.Millisecond
}

// begin ends the calm before the storm.
func (s *storm) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = false
}

const comeLate fault = 100

// Txn implements clientv3.KV.
func (s *storm) Txn(ctx context.Context) clientv3.Txn { return &stormTxn{storm: s, ctx: ctx} }

type stormTxn struct {
	storm *storm
	ctx   context.Context
	ifs   []clientv3.Cmp
	thens []clientv3.Op
	elses []clientv3.Op
}

func (t *stormTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.ifs = c; return t }
func (t *stormTxn) Then(o ...clientv3.Op) clientv3.Txn { t.thens = o; return t }
func (t *stormTxn) Else(o ...clientv3.Op) clientv3.Txn { t.elses = o; return t }

func (t *stormTxn) send(ctx context.Context) (*clientv3.TxnResponse, error) {
	return t.storm.KV.Txn(ctx).If(t.ifs...).Then(t.thens...).Else(t.elses...).Commit()
}

// Commit implements clientv3.Txn.
func (t *stormTxn) Commit() (*clientv3.TxnResponse, error) {
	f, delay := none, time.Duration(0)
	if len(t.ifs) > 0 {
		f, delay = t.storm.fault()
	}
	switch f {
	case none:
		return t.send(t.ctx)
	case loseAnswer:
		if _, err := t.send(t.ctx); err != nil {
			return nil, err
		}
	case comeLate:
		t.storm.late.Go(func() {
			<-time.After(delay)
			_, _ = t.send(context.WithoutCancel(t.ctx)) // what becomes of it, the history tells
		})
	}
	return nil, errNoAnswer
}

// told is what the writer of one delta was told.
type told struct {
	revision rebind.Revision
	names    []rebind.Name
	payload  string // no two deltas have the same
}

// Promise: each delta is applied once or never, and its writer is told the truth,
// however many answers and requests are lost, and however late some come. Here the
// term lasts, so every outcome is found out: each is applied once, where it was told.
func TestPersister_AppliesEachDeltaOnceInAStorm(t *testing.T) {
	const writers, each = 12, 12
	l := newLab(t)
	began := l.get(l.key("meta")).Header.Revision
	s := &storm{random: rand.New(rand.NewPCG(3, 7)), calm: true}
	etcdstore.SetKV(l.node("a"), func(kv clientv3.KV) clientv3.KV { s.KV = kv; return s })
	member := l.join("a")
	term := l.elect(member)
	s.begin()
	mirror := replica.NewMirror(l.node("b"), rebind.Rules{}, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	var group, following sync.WaitGroup
	following.Go(func() { _ = mirror.Run(ctx) })
	t.Cleanup(func() { cancel(); following.Wait() })
	<-mirror.Loaded()
	p := replica.NewPersister(term.Context(), term, mirror, 1<<20)

	outcomes := make(chan told, writers*each)
	for w := range writers {
		group.Go(func() {
			for k := range each {
				o := told{payload: fmt.Sprintf("unique-%d-%d", w, k)}
				// Two mementos that others write as well, so that groups form and turns are
				// waited for.
				o.names = []rebind.Name{rebind.Name(fmt.Sprintf("entity/%d", k%3)), rebind.Name(fmt.Sprintf("policy/%d", w))}
				r, err := p.Commit(l.t.Context(), rebind.Delta{Ops: []rebind.Op{put(o.names[0], o.payload), put(o.names[1], o.payload)}})
				if err != nil {
					t.Errorf("%s: %v", o.payload, err)
					continue
				}
				o.revision = r.Revision
				outcomes <- o
			}
		})
	}
	group.Wait()
	s.late.Wait()
	close(outcomes)
	if s.struck < writers {
		t.Errorf("%d faults, the test shows nothing", s.struck)
	}
	l.judge(outcomes, began)
}

// judge holds what writers were told against the store's own history since a
// revision.
func (l *lab) judge(outcomes <-chan told, since int64) {
	l.t.Helper()
	puts := make(map[string][]rebind.Revision) // of each memento and payload
	for _, ev := range l.history(l.key("mementos/"), since) {
		c, _, _, _, err := etcdstore.Decode(ev.Kv.Value)
		l.must(err)
		name := strings.TrimPrefix(string(ev.Kv.Key), l.key("mementos/"))
		puts[name+" "+string(c.Payload)] = append(puts[name+" "+string(c.Payload)], rebind.Revision(ev.Kv.ModRevision))
	}
	for o := range outcomes {
		for _, name := range o.names {
			at := puts[string(name)+" "+o.payload]
			if len(at) != 1 || at[0] != o.revision {
				l.t.Errorf("%s of %s: told revision %d, stands at %v", o.payload, name, o.revision, at)
			}
			delete(puts, string(name)+" "+o.payload)
		}
	}
	for what, at := range puts {
		l.t.Errorf("%s stands at %v, and nobody was told", what, at)
	}
}

// history returns everything that happened under a prefix after a revision.
func (l *lab) history(prefix string, since int64) []*clientv3.Event {
	l.t.Helper()
	ctx := l.ctx()
	head, err := l.raw.Put(ctx, prefix+"zz-end", etcdstore.Encode(&rebind.Content{}, "z", 1, "end"))
	l.must(err)
	var events []*clientv3.Event
	for resp := range l.raw.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(since+1)) {
		l.must(resp.Err())
		for _, ev := range resp.Events {
			if ev.Kv.ModRevision == head.Header.Revision {
				return events
			}
			events = append(events, ev)
		}
	}
	l.t.Fatal("history does not come to its end")
	return nil
}
