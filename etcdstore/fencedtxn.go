package etcdstore

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file commits the transactions of a term, and finds out what became of one whose answer
// was loc. Every write of a term goes through termCore.write and carries the fence (fence.go).

// fencedTxn is one transaction of a term. It commits under the fence; the other fields say
// what it means if it does not commit.
type fencedTxn struct {
	// compares must hold beside the fence for ops to take effect.
	compares []clientv3.Cmp
	ops      []clientv3.Op
	size     int // of what is sent, in bytes, where that is much

	// readOps makes the reads whose results judge and refuse are given, in their order; refuse is
	// given the keys alone. It is called only if the answer is lost, or is no.
	readOps func(how ...clientv3.OpOption) []clientv3.Op
	// judge tells what became of the transaction after its answer was loc. nil says that sending
	// it again does no harm, and that its result does not matter once the term is over.
	judge func(*readBack) (txnOutcome, int64)
	// refuse returns the error for compares that do not hold. nil if there are none.
	refuse func(*readBack) error
	// resent, if not nil, is set when the transaction is sent again: the first one may have been
	// applied, and seen, at an earlier revision.
	resent *bool
}

// txnOutcome is what is known of a transaction whose answer was loc.
type txnOutcome int

const (
	unchanged txnOutcome = iota // nothing it touches has changed
	applied                     // it took effect, at the revision told with it
	unclear                     // it may or may not have
	never                       // it did not, and cannot
)

// readBack is what was read, at one revision, after an answer was loc.
type readBack struct {
	revision int64
	fenced   bool // the fence no longer holds
	kvs      [][]*mvccpb.KeyValue
}

// settleFor limits how long a lost answer is looked for after the caller's context, or the
// term, has ended.
const settleFor = 2 * time.Second

// write commits w under the fence and returns its revision.
//
// While the answer is missing, etcd may still apply the transaction later. So write reads what
// it touches, together with what the fence compares:
//
//   - applied: done
//   - unchanged, and the term goes on: the same transaction is sent again; its comparisons
//     ensure that it applies at most once
//   - unchanged, and the term is over: it will never apply, because the fence refuses it
//   - anything else: [rebind.ErrUnknown]
func (t *termCore) write(ctx context.Context, w fencedTxn) (int64, error) {
	doubt := false
	settle, cancel := t.settleContext(ctx)
	defer cancel()
	if w.judge == nil {
		defer context.AfterFunc(t.ctx, cancel)()
	}
	for pause := retry.NewBackoff(maxPause); ; {
		if err := t.acting(); err != nil && !doubt {
			return 0, err
		} else if err == nil && (!doubt || ctx.Err() == nil) {
			if doubt && w.resent != nil {
				*w.resent = true
			}
			resp, err := t.send(ctx, w)
			switch {
			case err == nil && resp.Succeeded:
				return resp.Header.Revision, nil
			case err == nil && !doubt:
				return 0, t.refusal(ctx, &w)
			case err != nil && notApplied(err) && !doubt:
				return 0, translate(err)
			}
			doubt = true
			t.m.store.log.Debug("write in doubt, reading what became of it", zap.Error(err))
		}
		revision, done, err := t.lookUp(settle, ctx, &w)
		if done {
			return revision, err
		}
		if retry.Wait(settle, pause.Next()) != nil {
			return 0, fmt.Errorf("%w: the store does not answer", rebind.ErrUnknown)
		}
	}
}

// settleContext returns a context that outlives the caller's by settleFor.
func (t *termCore) settleContext(caller context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.m.store.ctx)
	stop := context.AfterFunc(caller, func() { time.AfterFunc(settleFor, cancel) })
	return ctx, func() { stop(); cancel() }
}

// send sends the transaction once. It has no Else branch to read why it was refused: every
// write would pay for what few need.
func (t *termCore) send(ctx context.Context, w fencedTxn) (*clientv3.TxnResponse, error) {
	ctx, cancel := t.m.store.boundFor(ctx, w.size)
	defer cancel()
	return t.m.store.client.Txn(ctx).If(append(fence(t), w.compares...)...).Then(w.ops...).Commit()
}

// refusal returns why a transaction was refused. That is final, because a revision that is
// past does not come back.
func (t *termCore) refusal(ctx context.Context, w *fencedTxn) error {
	found, err := t.find(ctx, w, clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("write was refused, see why: %w", translate(err))
	}
	return t.refused(w, found)
}

// find reads what the fence compares and what w asks for, at one revision.
func (t *termCore) find(ctx context.Context, w *fencedTxn, how ...clientv3.OpOption) (*readBack, error) {
	ctx, cancel := t.m.store.boundFor(ctx, w.size)
	defer cancel()
	reads := t.fenceReads()
	if w.readOps != nil {
		reads = append(reads, w.readOps(how...)...)
	}
	resp, err := t.m.store.client.Txn(ctx).Then(reads...).Commit()
	if err != nil {
		return nil, err
	}
	return t.finding(resp.Header.Revision, resp.Responses), nil
}

// lookUp reads once what became of a transaction in doubt. done is false if it has to be sent,
// or looked up, again.
func (t *termCore) lookUp(ctx, caller context.Context, w *fencedTxn) (revision int64, done bool, err error) {
	found, err := t.find(ctx, w)
	if err != nil {
		return 0, false, nil
	}
	verdict := unchanged
	if w.judge != nil {
		verdict, revision = w.judge(found)
	}
	switch {
	case verdict == applied:
		return revision, true, nil
	case verdict == unclear:
		return 0, true, fmt.Errorf("%w: what it touches was changed since", rebind.ErrUnknown)
	case found.fenced || verdict == never:
		return 0, true, t.refused(w, found)
	case caller.Err() != nil && t.ctx.Err() == nil:
		return 0, true, fmt.Errorf("%w: not applied when last looked at: %w", rebind.ErrUnknown, context.Cause(caller))
	default:
		return 0, false, nil
	}
}

// fenceReads returns the reads of what the fence compares.
func (t *termCore) fenceReads() []clientv3.Op {
	reads := make([]clientv3.Op, len(t.conditions))
	for i, c := range t.conditions {
		reads[i] = clientv3.OpGet(c.key, clientv3.WithKeysOnly())
	}
	return reads
}

// refused returns the error of a transaction whose comparisons do not hold.
func (t *termCore) refused(w *fencedTxn, found *readBack) error {
	if found.fenced || w.refuse == nil {
		t.over(fmt.Errorf("%w: the store refused a write of this term", driver.ErrTermOver))
		return fmt.Errorf("%w: refused by the store", driver.ErrFenced)
	}
	return w.refuse(found)
}

// finding makes a readBack from the answers to fenceReads and to the reads after them.
func (t *termCore) finding(revision int64, responses []*pb.ResponseOp) *readBack {
	f := &readBack{revision: revision}
	for _, r := range responses {
		f.kvs = append(f.kvs, r.GetResponseRange().Kvs)
	}
	for i := range t.conditions {
		f.fenced = f.fenced || !t.conditions[i].holds(f.kvs[i])
	}
	f.kvs = f.kvs[len(t.conditions):]
	return f
}
