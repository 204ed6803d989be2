package etcdstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// errNoAnswer stands for any error that leaves the outcome open.
var errNoAnswer = errors.New("connection lost")

// wire is etcd with a bad connection: it can lose the answer to the next write,
// or the write itself.
type wire struct {
	clientv3.KV

	mu     sync.Mutex // guards the fields below
	lose   fault
	during func() // runs between a write and its lost answer
	writes int    // transactions with compares that reached etcd
}

type fault int

const (
	none fault = iota
	loseAnswer
	loseRequest
)

// badWire puts a wire between the node and etcd.
func (l *lab) badWire(node string) *wire {
	l.t.Helper()
	w := &wire{}
	etcdstore.SetKV(l.node(node), func(kv clientv3.KV) clientv3.KV { w.KV = kv; return w })
	return w
}

// next has the next write meet a fault.
func (w *wire) next(f fault, during func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose, w.during, w.writes = f, during, 0
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

// Txn implements clientv3.KV.
func (w *wire) Txn(ctx context.Context) clientv3.Txn { return &wireTxn{Txn: w.KV.Txn(ctx), wire: w} }

type wireTxn struct {
	clientv3.Txn
	wire  *wire
	write bool
}

func (t *wireTxn) If(c ...clientv3.Cmp) clientv3.Txn {
	t.write = true
	t.Txn = t.Txn.If(c...)
	return t
}

func (t *wireTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }

func (t *wireTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *wireTxn) Commit() (*clientv3.TxnResponse, error) {
	if !t.write {
		return t.Txn.Commit()
	}
	t.wire.mu.Lock()
	f, during := t.wire.lose, t.wire.during
	t.wire.lose, t.wire.during = none, nil
	if f != loseRequest {
		t.wire.writes++
	}
	t.wire.mu.Unlock()
	if f == none {
		return t.Txn.Commit()
	}
	if f == loseAnswer {
		if _, err := t.Txn.Commit(); err != nil {
			return nil, err
		}
	}
	if during != nil {
		during()
	}
	return nil, errNoAnswer
}

// eachFault runs a test once for each way to lose a write, each time in a lab of its
// own that is gone before the next: what connects anew would be a leak to the next.
func eachFault(t *testing.T, test func(l *lab, f fault)) {
	for name, f := range map[string]fault{"answer": loseAnswer, "request": loseRequest} {
		t.Run(name, func(t *testing.T) { test(newLab(t), f) })
	}
}

// doubtful is a commit whose answer does not come.
type doubtful struct {
	name    string
	fault   fault
	during  func(l *lab) // between the write and its lost answer
	ops     []rebind.Op
	want    error  // nil: stored
	payload string // of entity/x afterwards
	writes  int    // that may reach etcd
}

func doubtfulCommits() []doubtful {
	replace, remove := []rebind.Op{put("entity/x", "2")}, []rebind.Op{{Name: "entity/x"}}
	depose := func(l *lab) { l.DeleteCandidate("a") }
	overwrite := func(l *lab) {
		_, err := l.raw.Put(l.ctx(), l.key("mementos/entity/x"), etcdstore.Encode(&rebind.Content{Payload: []byte("3")}, "z", 1, "other"))
		l.must(err)
	}
	return []doubtful{
		{"a put that was applied is found to be", loseAnswer, nil, replace, nil, "2", 1},
		{"a put that was not applied is sent again", loseRequest, nil, replace, nil, "2", 1},
		{"a deletion that was applied is found to be", loseAnswer, nil, remove, nil, "", 1},
		{"a deletion that was not applied is sent again", loseRequest, nil, remove, nil, "", 1},
		{"a put whose term ended before it was applied never is", loseRequest, depose, replace, driver.ErrFenced, "1", 0},
		{"a put that was applied before its term ended is", loseAnswer, depose, replace, nil, "2", 1},
		{"a deletion in a term that ended cannot be told", loseAnswer, depose, remove, rebind.ErrUnknown, "", 1},
		{"a put that somebody has written over cannot be told", loseAnswer, overwrite, replace, rebind.ErrUnknown, "3", 1},
	}
}

func TestCommit_LostAnswer(t *testing.T) {
	for _, c := range doubtfulCommits() {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			bad := l.badWire("a")
			term := etcdstore.Blind(l.elect(l.join("a")))
			base, err := l.commit(term, "first", 0, put("entity/x", "1"))
			l.must(err)
			bad.next(c.fault, func() {
				if c.during != nil {
					c.during(l)
				}
			})
			rev, err := l.commit(term, "second", base, c.ops...)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("commit = %v, want %v", err, c.want)
			}
			if got := l.payload("entity/x"); got != c.payload {
				t.Errorf("payload = %q, want %q", got, c.payload)
			}
			if got := bad.count(); got != c.writes {
				t.Errorf("%d writes reached etcd, want %d", got, c.writes)
			}
			if err != nil || c.payload == "" {
				return
			}
			kv := l.get(l.key("mementos/entity/x")).Kvs[0]
			if kv.Version != 2 || kv.ModRevision != int64(rev) {
				t.Errorf("version %d at %d, want one write more, at %d", kv.Version, kv.ModRevision, rev)
			}
		})
	}
}

// A master's record is of no use once its term is over: who publishes it has a state
// to leave.
func TestPublish_LostIsNotLookedForOnceTheTermIsOver(t *testing.T) {
	l := newLab(t)
	clock := &skewed{}
	l.as = func(cfg *etcdstore.Config) { cfg.Clock = clock.now }
	bad := l.badWire("a")
	m := l.join("a")
	term := l.elect(m)
	bad.next(loseRequest, func() { clock.sleep(l.config().TTL) })
	began := time.Now()
	if err := term.Publish(l.ctx(), recordOf("a")); !errors.Is(err, rebind.ErrUnknown) {
		t.Errorf("publish = %v, want ErrUnknown", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
}

// succeed has another node lead, and commit there under an operation's id.
func (l *lab) succeed(op string, ops ...rebind.Op) {
	l.t.Helper()
	l.DeleteCandidate("a")
	term := l.elect(l.join("b"))
	for i := range ops {
		if _, err := l.commit(term, op, rebind.Revision(l.modRevision(ops[i].Name)), ops[i]); err != nil {
			l.t.Fatal(err)
		}
	}
}

// A caller that does not hear of its delta has the next master store it, under the
// same id. That proves nothing of the transaction in which the first one had it go
// together with others.
func TestCommit_LostAndStoredByTheNextMaster(t *testing.T) {
	l := newLab(t)
	bad := l.badWire("a")
	term := etcdstore.Blind(l.elect(l.join("a")))
	bad.next(loseRequest, func() { l.succeed("op", put("entity/x", "again")) })
	rev, err := l.commit(term, "op", 0, put("entity/x", "first"), put("entity/y", "with it"))
	if !errors.Is(err, rebind.ErrUnknown) {
		t.Errorf("commit = %d, %v, want ErrUnknown", rev, err)
	}
}

// What the lost write made may be gone again: then it looks as if it had never been.
func TestCommit_LostAndDeletedByTheNextMaster(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		term := etcdstore.Blind(l.elect(l.join("a")))
		bad.next(f, func() { l.succeed("other", rebind.Op{Name: "entity/x"}) })
		rev, err := l.commit(term, "op", 0, put("entity/x", "1"))
		if !errors.Is(err, rebind.ErrUnknown) {
			l.t.Errorf("commit = %d, %v, want ErrUnknown", rev, err)
		}
	})
}

// What was sent on a base that no memento has was not applied, though it is as if it
// had been: somebody else has deleted the memento before.
func TestCommit_LostOnNoBase(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		term := etcdstore.Blind(l.elect(l.join("a")))
		bad.next(f, nil)
		rev, err := l.commit(term, "op", -1, rebind.Op{Name: "entity/x"})
		var moved *driver.BaseError
		if !errors.As(err, &moved) || moved.Actual[0] != 0 {
			l.t.Errorf("commit = %d, %v, want the true base, 0", rev, err)
		}
	})
}

// A late arrival of a transaction that was given up for lost, and sent again,
// finds that its comparisons no longer hold.
func TestCommit_AppliesAtMostOnce(t *testing.T) {
	l := newLab(t)
	bad := l.badWire("a")
	term := l.elect(l.join("a"))
	for i := range 5 {
		bad.next(loseAnswer, nil)
		if _, err := l.commit(term, "op", rebind.Revision(l.modRevision("entity/x")), put("entity/x", "v")); err != nil {
			t.Fatal(err)
		}
		if got := l.get(l.key("mementos/entity/x")).Kvs[0].Version; got != int64(i+1) {
			t.Fatalf("version %d after %d commits", got, i+1)
		}
	}
}

// An operation id that is used again does not make what was there before look like
// what was lost on the way.
func TestCommit_LostUnderARepeatedOperationID(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		term := l.elect(l.join("a"))
		base, err := l.commit(term, "same", 0, put("entity/x", "1"), put("entity/y", "1"))
		l.must(err)
		bad.next(f, nil)
		rev, err := l.commit(term, "same", base, put("entity/x", "2"), rebind.Op{Name: "entity/y"})
		if err != nil || l.payload("entity/x") != "2" || l.payload("entity/y") != "" || bad.count() != 1 {
			l.t.Errorf("%v, x = %q, %d writes, want one that is stored", err, l.payload("entity/x"), bad.count())
		}
		if got := l.modRevision("entity/x"); got != int64(rev) {
			l.t.Errorf("said to be at %d, is at %d", rev, got)
		}
	})
}

func (l *lab) modRevision(name rebind.Name) int64 {
	resp := l.get(l.key("mementos/" + string(name)))
	if len(resp.Kvs) == 0 {
		return 0
	}
	return resp.Kvs[0].ModRevision
}

func TestCampaign_LostAnswerToTheTermTransaction(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		m := l.join("a")
		// The first write of a candidacy is etcd's own, for its key, the second is the term
		// transaction. The decision comes between them.
		var once sync.Once
		term, err := storetest.Candidate{Decide: func(driver.Plane) storetest.Decision {
			once.Do(func() { bad.next(f, nil) })
			return storetest.Take
		}}.Lead(l.ctx(), m)
		l.must(err)
		if _, err := l.commit(term, "op", 0, put("entity/x", "1")); err != nil {
			l.t.Errorf("a term whose beginning was in doubt does not hold: %v", err)
		}
		kv := l.get(l.key("term")).Kvs[0]
		if kv.Version != 1 {
			l.t.Errorf("term record written %d times", kv.Version)
		}
		l.must(m.Leave(l.ctx(), nil))
	})
}

func TestPass_LostAnswer(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		old := l.elect(l.join("a"))
		target := l.join("b")
		won := make(chan driver.Term, 1)
		go func() {
			term, _ := storetest.Candidate{}.Lead(l.t.Context(), target)
			won <- term
		}()
		var to driver.Member
		l.eventually("b stands in the election", func() bool {
			p, err := l.node("a").Plane(l.ctx())
			l.must(err)
			to, _ = p.Member("b")
			return to.Candidacy != 0
		})
		l.must(old.Offer(l.ctx(), &driver.Offer{ID: "h", From: "a", To: "b"}))
		bad.next(f, nil)
		l.must(old.Pass(l.ctx(), to, recordOf("a")))
		term := <-won
		if term == nil || term.Number() <= old.Number() {
			l.t.Fatalf("target got %v", term)
		}
		if _, err := l.commit(etcdstore.Blind(old), "late", 0, put("entity/x", "1")); !errors.Is(err, driver.ErrFenced) {
			l.t.Errorf("old master writes on: %v", err)
		}
		for _, s := range []string{"a", "b"} {
			l.Revoke(s)
		}
	})
}

// An offer that is sent twice may have been answered at the first: who made it must not
// take that for the word of somebody who has all that was written until the second.
func TestOffer_LostAnswerIsNotTakenForTheFirst(t *testing.T) {
	l := newLab(t)
	bad := l.badWire("a")
	term := l.elect(l.join("a"))
	bad.next(loseAnswer, nil)
	offer := driver.Offer{ID: "h", From: "a", To: "b"}
	l.must(term.Offer(l.ctx(), &offer))
	if kv := l.get(l.key("handover")).Kvs[0]; kv.Version != 2 || offer.Made != 0 {
		t.Errorf("written %d times, made at %d, want 2 times and not known when", kv.Version, offer.Made)
	}
}

func TestResign_LostAnswer(t *testing.T) {
	eachFault(t, func(l *lab, f fault) {
		bad := l.badWire("a")
		m := l.join("a")
		term := l.elect(m)
		bad.next(f, nil)
		l.must(term.Resign(l.ctx(), recordOf("a")))
		if n := len(l.get(l.key("election/"), prefixOption).Kvs); n != 0 {
			l.t.Errorf("%d election keys left", n)
		}
		l.elect(m)
		l.must(m.Leave(l.ctx(), nil))
	})
}
