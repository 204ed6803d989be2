package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is the term of a shared plane from its beginning to its end, and what it writes
// besides deltas (commit.go). Any goroutine of its node may use it; each write is fenced
// (fence.go).

// term is one mastership of a plane that nodes share.
type term struct {
	*termCore
	offered   atomic.Int64 // mod revision of the handover last offered
	history   *history
	fresh     context.Context // ends when the term is watched
	announced context.CancelFunc
}

// watchAfter is how long a term that is not announced goes unwatched. Its announcement is
// fenced, and to open a watch beside it would only delay it and the first writes.
const watchAfter = 100 * time.Millisecond

var _ driver.Term = (*term)(nil)

// begin makes the term that is given to this presence.
func (m *presence) begin(a *award) *term {
	key, recorded, created := m.candidateKey(), a.recorded, a.created
	t := m.newTerm(a.holder.Term,
		condition{key: m.store.keys.term(), modified: recorded}, condition{key: key, created: created})
	t.recorded, t.planeID = recorded, a.planeID
	m.lastLed = t.number
	t.readHistory()
	m.store.group.Go(func() {
		<-t.fresh.Done()
		t.watch(func(p *picture) string {
			switch {
			case p.termMod != recorded:
				return "the term record was changed"
			case p.candidates[key] != created:
				return "the election key is gone"
			default:
				return ""
			}
		})
	})
	return t
}

// newTerm makes a term in a shared plane that ends with the presence.
func (m *presence) newTerm(number int64, conditions ...condition) *term {
	t := &term{termCore: newTermCore(m, number, conditions...)}
	t.fresh, t.announced = context.WithTimeout(t.ctx, watchAfter)
	return t
}

// Announce publishes the record of a node that has become master, adds its entry
// to the history and prunes that, in one fenced transaction.
func (t *term) Announce(ctx context.Context, r driver.Record, h driver.HistoryEntry) error {
	k := t.m.store.keys
	writes := []clientv3.Op{
		t.m.putRecord(r),
		clientv3.OpPut(k.entry(h.Term), encodeJSON(h)),
	}
	oldest, err := t.oldestKept(ctx)
	if err != nil {
		return fmt.Errorf("announce term %d: %w", t.number, err)
	}
	if oldest != "" {
		writes = append(writes, clientv3.OpDelete(k.history(), clientv3.WithRange(oldest)))
	}
	if _, err := t.write(ctx, fencedTxn{ops: writes}); err != nil {
		return fmt.Errorf("announce term %d: %w", t.number, err)
	}
	t.announced()
	return nil
}

// history is what the announcement of a term has to know of the terms before. Nobody
// else adds to them while it lasts, so it is read while the state is waited for.
type history struct {
	read   chan struct{} // closed when it has been, with one of:
	oldest string
	err    error
}

// readHistory reads ahead, as of the revision at which the term began: a member that
// has come that far need not ask the others.
func (t *term) readHistory() {
	h := &history{read: make(chan struct{})}
	t.history = h
	t.m.store.group.Go(func() {
		defer close(h.read)
		h.oldest, h.err = t.m.store.oldestKept(t.ctx, clientv3.WithSerializable(), clientv3.WithRev(t.recorded))
	})
}

// oldestKept returns what was read ahead, or reads it again if that failed.
func (t *term) oldestKept(ctx context.Context) (string, error) {
	select {
	case <-t.history.read:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if t.history.err != nil {
		return t.m.store.oldestKept(ctx)
	}
	return t.history.oldest, nil
}

// oldestKept returns the key before which a new entry leaves the history too
// long, or nothing if it does not.
func (s *Store) oldestKept(ctx context.Context, how ...clientv3.OpOption) (string, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	how = append(how, clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(maxHistory))
	resp, err := s.client.Get(ctx, s.keys.history(), how...)
	if err != nil {
		return "", fmt.Errorf("read history: %w", translate(err))
	}
	if len(resp.Kvs) < maxHistory {
		return "", nil
	}
	return string(resp.Kvs[maxHistory-2].Key), nil
}

// Publish replaces the record under the fence.
func (t *term) Publish(ctx context.Context, r driver.Record) error {
	if _, err := t.write(ctx, fencedTxn{ops: []clientv3.Op{t.m.putRecord(r)}}); err != nil {
		return fmt.Errorf("publish record: %w", err)
	}
	return nil
}

// RecordDeparture keeps what is known of a node that vanished.
func (t *term) RecordDeparture(ctx context.Context, l driver.Departed) error {
	s := t.m.store
	ctx, cancel := s.bound(ctx)
	defer cancel()
	put, err := s.leftOp(ctx, l)
	if err == nil {
		_, err = t.write(ctx, fencedTxn{
			compares: []clientv3.Cmp{single(s.keys.node(l.ID)).empty(), single(s.keys.leftNode(l.ID)).empty()},
			ops:      []clientv3.Op{put},
			refuse:   func(*readBack) error { return nil }, // it is back, or somebody has said it
		})
	}
	if err != nil {
		return fmt.Errorf("keep the record of %s: %w", l.ID, err)
	}
	return nil
}

// CheckHandover sends the writes of [term.Pass] behind a comparison that never holds:
// etcd checks whether they are allowed all the same.
func (t *term) CheckHandover(ctx context.Context, to driver.Member) error {
	if err := t.acting(); err != nil {
		return err
	}
	ctx, cancel := t.m.store.bound(ctx)
	defer cancel()
	k := t.m.store.keys
	_, err := t.m.store.client.Txn(ctx).
		If(k.never()).
		Then(clientv3.OpPut(k.term(), to.ID), clientv3.OpPut(k.handover(), to.ID, clientv3.WithLease(t.m.id)),
			clientv3.OpDelete(t.m.candidateKey()), clientv3.OpPut(t.m.key, to.ID, clientv3.WithLease(t.m.id))).
		Commit()
	if err != nil {
		return fmt.Errorf("check the writes of a handover: %w", translate(err))
	}
	return nil
}

// Offer publishes a handover under the fence and fills in when it was made, or withdraws
// it.
func (t *term) Offer(ctx context.Context, h *driver.Offer) error {
	key := t.m.store.keys.handover()
	op := clientv3.OpDelete(key)
	if h != nil {
		op = clientv3.OpPut(key, encodeJSON(h), clientv3.WithLease(t.m.id))
	}
	resent := false
	revision, err := t.write(ctx, fencedTxn{ops: []clientv3.Op{op}, resent: &resent})
	if err != nil {
		return fmt.Errorf("publish handover: %w", err)
	}
	t.offered.Store(revision)
	switch {
	case h == nil:
	case resent:
		h.Made = 0
	default:
		h.Made = rebind.Revision(revision)
	}
	return nil
}

// Pass gives the term to a candidate. It compares the offer as well: where the
// outcome stays in doubt, withdrawing the offer under the fence proves that the
// term has not passed and that a late arrival of the transaction cannot pass it.
func (t *term) Pass(ctx context.Context, to driver.Member, r driver.Record) error {
	k := t.m.store.keys
	next := driver.Holder{
		Term: max(int64(to.Candidacy), t.number+1), Key: to.CandidateKey, Node: to.ID,
		Since: now(),
	}
	_, err := t.write(ctx, fencedTxn{
		compares: []clientv3.Cmp{
			createdAt(to.CandidateKey, int64(to.Candidacy)),
			modifiedAt(k.handover(), t.offered.Load()),
		},
		ops: []clientv3.Op{
			clientv3.OpPut(k.term(), encodeJSON(next)),
			clientv3.OpDelete(t.m.candidateKey()),
			clientv3.OpDelete(k.handover()),
			t.m.putRecord(r),
		},
		readOps: func(how ...clientv3.OpOption) []clientv3.Op { return []clientv3.Op{clientv3.OpGet(k.term(), how...)} },
		judge: func(f *readBack) (txnOutcome, int64) {
			var now driver.Holder
			if len(f.kvs[0]) == 1 && json.Unmarshal(f.kvs[0][0].Value, &now) == nil && now == next {
				return applied, f.revision
			}
			return unchanged, 0
		},
		refuse: func(*readBack) error {
			return fmt.Errorf("%w: %s is no longer in the election", driver.ErrRefused, to.ID)
		},
	})
	if errors.Is(err, rebind.ErrUnknown) && t.unpass(ctx) {
		err = fmt.Errorf("%w: the store did not answer in time", driver.ErrRefused)
	}
	if err != nil {
		return fmt.Errorf("pass term to %s: %w", to.ID, err)
	}
	t.over(fmt.Errorf("%w: handed over to %s", driver.ErrTermOver, to.ID))
	return nil
}

// unpass makes sure, within settleFor, that a term has not passed and will not.
func (t *term) unpass(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	return t.Offer(ctx, nil) == nil
}

// Resign gives the term up.
func (t *term) Resign(ctx context.Context, r driver.Record) error {
	_, err := t.write(ctx, fencedTxn{
		ops: []clientv3.Op{
			clientv3.OpDelete(t.m.candidateKey()),
			clientv3.OpDelete(t.m.store.keys.handover()),
			t.m.putRecord(r),
		},
		judge: goneIsApplied,
	})
	if err != nil {
		return fmt.Errorf("resign term %d: %w", t.number, err)
	}
	t.over(fmt.Errorf("%w: given up", driver.ErrTermOver))
	return nil
}

// goneIsApplied judges a write that ends the term: that it is over is what matters.
func goneIsApplied(f *readBack) (txnOutcome, int64) {
	if f.fenced {
		return applied, f.revision
	}
	return unchanged, 0
}
