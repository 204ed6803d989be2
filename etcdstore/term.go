package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/rebind"
)

// term is one mastership.
type term struct {
	m        *membership
	number   int64
	recorded int64        // mod revision of the term record
	key      string       // the election key that holds the term
	created  int64        // create revision of that key
	offered  atomic.Int64 // mod revision of the handover last offered
	ctx      context.Context
	over     context.CancelCauseFunc
}

var _ coordinator.Term = (*term)(nil)

// begin makes the term that p's record gives to this membership.
func (m *membership) begin(p *picture, recorded, created int64) *term {
	t := &term{m: m, number: p.holder.Term, recorded: recorded, key: m.candidateKey(), created: created}
	m.lastLed = t.number
	t.ctx, t.over = context.WithCancelCause(m.store.ctx)
	m.store.group.Go(func() {
		select {
		case <-m.ctx.Done():
			t.over(fmt.Errorf("%w: %w", coordinator.ErrTermOver, m.Cause()))
		case <-t.ctx.Done():
		}
	})
	m.store.group.Go(t.watch)
	return t
}

// watch ends the term when somebody deletes or replaces what it rests on. The
// fence would find out with the next write; a master that writes nothing should
// know as well.
func (t *term) watch() {
	t.m.store.watchHolder(t.ctx, t.key, func(p *picture) bool {
		switch {
		case p.termMod != t.recorded:
			t.over(fmt.Errorf("%w: the term record was changed", coordinator.ErrTermOver))
		case p.candidates[t.key] != t.created:
			t.over(fmt.Errorf("%w: the election key is gone", coordinator.ErrTermOver))
		}
		return t.ctx.Err() == nil
	})
}

// Number is the fencing token.
func (t *term) Number() int64 { return t.number }

// Revision is that of the term record.
func (t *term) Revision() rebind.Revision { return rebind.Revision(t.recorded) }

// Context ends with the term.
func (t *term) Context() context.Context { return t.ctx }

// acting returns nil while this node may act as master by its own clock.
func (t *term) acting() error {
	if t.m.live() && t.ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(t.ctx)
	if cause == nil { // the lease has just ended, and the news is on its way
		cause = fmt.Errorf("%w: %w", coordinator.ErrTermOver, t.m.Cause())
	}
	return fmt.Errorf("%w: %w", rebind.ErrClosed, cause)
}

// Announce publishes the record of a node that has become master, adds its entry
// to the history and prunes that, in one fenced transaction.
func (t *term) Announce(ctx context.Context, r coordinator.Record, h coordinator.HistoryEntry) error {
	k := t.m.store.keys
	writes := []clientv3.Op{
		t.putRecord(r),
		clientv3.OpPut(k.entry(h.Term), encodeJSON(h)),
	}
	oldest, err := t.m.store.oldestKept(ctx)
	if err != nil {
		return fmt.Errorf("announce term %d: %w", t.number, err)
	}
	if oldest != "" {
		writes = append(writes, clientv3.OpDelete(k.history(), clientv3.WithRange(oldest)))
	}
	if _, err := t.write(ctx, write{ops: writes}); err != nil {
		return fmt.Errorf("announce term %d: %w", t.number, err)
	}
	return nil
}

// oldestKept returns the key before which a new entry leaves the history too
// long, or nothing if it does not.
func (s *Store) oldestKept(ctx context.Context) (string, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.client.Get(ctx, s.keys.history(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(maxHistory))
	if err != nil {
		return "", fmt.Errorf("read history: %w", translate(err))
	}
	if len(resp.Kvs) < maxHistory {
		return "", nil
	}
	return string(resp.Kvs[maxHistory-2].Key), nil
}

func (t *term) putRecord(r coordinator.Record) clientv3.Op {
	return clientv3.OpPut(t.m.key, encodeJSON(r), clientv3.WithLease(t.m.id))
}

// Publish replaces the record under the fence.
func (t *term) Publish(ctx context.Context, r coordinator.Record) error {
	if _, err := t.write(ctx, write{ops: []clientv3.Op{t.putRecord(r)}}); err != nil {
		return fmt.Errorf("publish record: %w", err)
	}
	return nil
}

// Offer publishes a handover under the fence, or withdraws it.
func (t *term) Offer(ctx context.Context, h *coordinator.Handover) error {
	key := t.m.store.keys.handover()
	op := clientv3.OpDelete(key)
	if h != nil {
		op = clientv3.OpPut(key, encodeJSON(h), clientv3.WithLease(t.m.id))
	}
	revision, err := t.write(ctx, write{ops: []clientv3.Op{op}})
	if err != nil {
		return fmt.Errorf("publish handover: %w", err)
	}
	t.offered.Store(revision)
	return nil
}

// Pass gives the term to a candidate. It compares the offer as well: where the
// outcome stays in doubt, withdrawing the offer under the fence proves that the
// term has not passed and that a late arrival of the transaction cannot pass it.
func (t *term) Pass(ctx context.Context, to coordinator.Member, r coordinator.Record) error {
	k := t.m.store.keys
	next := coordinator.Holder{
		Term: max(int64(to.Candidacy), t.number+1), Key: to.CandidateKey, Node: to.ID,
		Since: time.Now().UTC().Truncate(time.Millisecond),
	}
	_, err := t.write(ctx, write{
		compares: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(to.CandidateKey), "=", int64(to.Candidacy)),
			clientv3.Compare(clientv3.ModRevision(k.handover()), "=", t.offered.Load()),
		},
		ops: []clientv3.Op{
			clientv3.OpPut(k.term(), encodeJSON(next)),
			clientv3.OpDelete(t.key),
			clientv3.OpDelete(k.handover()),
			t.putRecord(r),
		},
		reads: []clientv3.Op{clientv3.OpGet(k.term())},
		judge: func(f *finding) (verdict, int64) {
			var now coordinator.Holder
			if len(f.kvs[0]) == 1 && json.Unmarshal(f.kvs[0][0].Value, &now) == nil && now == next {
				return applied, f.revision
			}
			return unchanged, 0
		},
		refuse: func(*finding) error {
			return fmt.Errorf("%w: %s is no longer in the election", coordinator.ErrRefused, to.ID)
		},
	})
	if errors.Is(err, rebind.ErrUnknown) && t.Offer(t.ctx, nil) == nil {
		err = fmt.Errorf("%w: the store did not answer in time", coordinator.ErrRefused)
	}
	if err != nil {
		return fmt.Errorf("pass term to %s: %w", to.ID, err)
	}
	t.over(fmt.Errorf("%w: handed over to %s", coordinator.ErrTermOver, to.ID))
	return nil
}

// Resign gives the term up.
func (t *term) Resign(ctx context.Context, r coordinator.Record) error {
	_, err := t.write(ctx, write{
		ops: []clientv3.Op{
			clientv3.OpDelete(t.key),
			clientv3.OpDelete(t.m.store.keys.handover()),
			t.putRecord(r),
		},
		judge: func(f *finding) (verdict, int64) {
			if f.fenced {
				return applied, f.revision // the term is over, which is what matters
			}
			return unchanged, 0
		},
	})
	if err != nil {
		return fmt.Errorf("resign term %d: %w", t.number, err)
	}
	t.over(fmt.Errorf("%w: given up", coordinator.ErrTermOver))
	return nil
}
