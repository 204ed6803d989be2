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

// write is one transaction of a term. It commits under the fence; the rest says
// what to make of its not committing.
type write struct {
	// compares must hold beside the fence, for ops to take effect.
	compares []clientv3.Cmp
	ops      []clientv3.Op
	size     int // of what is sent, in bytes, where that is much

	// reads makes what is shown to judge and refuse, in its order; refuse sees the keys
	// alone. It is called where an answer is lost or no.
	reads func(how ...clientv3.OpOption) []clientv3.Op
	// judge tells, after a lost answer, what has become of the transaction. nil
	// says that sending it once more does no harm, and that nobody needs to know
	// once the term is over.
	judge func(*finding) (verdict, int64)
	// refuse tells what it means that compares do not hold. nil if there are none.
	refuse func(*finding) error
	// resent, if not nil, is set when the transaction is sent once more: what was sent
	// before may have been there, and seen, at an earlier revision.
	resent *bool
}

// verdict is what can be said of a transaction whose answer was lost.
type verdict int

const (
	unchanged verdict = iota // nothing it touches has changed
	applied                  // it took effect, at the revision told with it
	unclear                  // it may or may not have
	never                    // it did not, and cannot
)

// finding is what a read found at one revision.
type finding struct {
	revision int64
	fenced   bool // the fence no longer holds
	kvs      [][]*mvccpb.KeyValue
}

// settleFor bounds how long a lost answer is looked for after the caller's
// context, or the term it comes from, has ended.
const settleFor = 2 * time.Second

// write commits w under the fence and returns its revision.
//
// While an answer is missing nothing is known: etcd may apply the transaction
// late. So write then reads what it touches together with what the fence
// compares. Applied: done. Unchanged, and the term still this one's: the same
// transaction is sent again, and its comparisons make sure that it applies at
// most once. Unchanged, and the term over: it never will apply, for the fence
// refuses it. Anything else is [rebind.ErrUnknown].
func (t *term) write(ctx context.Context, w write) (int64, error) {
	doubt := false
	settle, cancel := t.settling(ctx)
	defer cancel()
	if w.judge == nil {
		defer context.AfterFunc(t.ctx, cancel)()
	}
	for pause := retry.NewPause(maxPause); ; {
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
				return 0, t.why(ctx, &w)
			case err != nil && notApplied(err) && !doubt:
				return 0, translate(err)
			}
			doubt = true
			t.m.store.log.Debug("write in doubt, reading what became of it", zap.Error(err))
		}
		revision, done, err := t.settle(settle, ctx, &w)
		if done {
			return revision, err
		}
		if retry.Wait(settle, pause.Next()) != nil {
			return 0, fmt.Errorf("%w: the store does not answer", rebind.ErrUnknown)
		}
	}
}

// settling returns a context that outlives the caller's by settleFor.
func (t *term) settling(caller context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.m.store.ctx)
	stop := context.AfterFunc(caller, func() { time.AfterFunc(settleFor, cancel) })
	return ctx, func() { stop(); cancel() }
}

// send sends the transaction once. It asks for nothing in case that it is refused:
// that would cost every write what only few need.
func (t *term) send(ctx context.Context, w write) (*clientv3.TxnResponse, error) {
	ctx, cancel := t.m.store.boundFor(ctx, w.size)
	defer cancel()
	return t.m.store.client.Txn(ctx).If(append(t.fence(), w.compares...)...).Then(w.ops...).Commit()
}

// why tells why a transaction was refused, which it was for good: a revision that
// has been left does not come back.
func (t *term) why(ctx context.Context, w *write) error {
	found, err := t.find(ctx, w, clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("write was refused, see why: %w", translate(err))
	}
	return t.refused(w, found)
}

// find reads what the fence compares, and what w wants to see, at one revision.
func (t *term) find(ctx context.Context, w *write, how ...clientv3.OpOption) (*finding, error) {
	ctx, cancel := t.m.store.boundFor(ctx, w.size)
	defer cancel()
	reads := t.fenceReads()
	if w.reads != nil {
		reads = append(reads, w.reads(how...)...)
	}
	resp, err := t.m.store.client.Txn(ctx).Then(reads...).Commit()
	if err != nil {
		return nil, err
	}
	return t.finding(resp.Header.Revision, resp.Responses), nil
}

// settle reads once what has become of a transaction in doubt; done is false if
// it is to be sent, or looked for, again.
func (t *term) settle(ctx, caller context.Context, w *write) (revision int64, done bool, err error) {
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

// fenceReads read what the fence compares.
func (t *term) fenceReads() []clientv3.Op {
	reads := make([]clientv3.Op, len(t.stakes))
	for i, st := range t.stakes {
		reads[i] = clientv3.OpGet(st.key, clientv3.WithKeysOnly())
	}
	return reads
}

// refused is the error of a transaction that found its comparisons not to hold.
func (t *term) refused(w *write, found *finding) error {
	if found.fenced || w.refuse == nil {
		t.over(fmt.Errorf("%w: the store refused a write of this term", driver.ErrTermOver))
		return fmt.Errorf("%w: refused by the store", driver.ErrFenced)
	}
	return w.refuse(found)
}

// finding sorts the answers to fenceReads and to the reads after them.
func (t *term) finding(revision int64, responses []*pb.ResponseOp) *finding {
	f := &finding{revision: revision}
	for _, r := range responses {
		f.kvs = append(f.kvs, r.GetResponseRange().Kvs)
	}
	for i := range t.stakes {
		f.fenced = f.fenced || !t.stakes[i].holds(f.kvs[i])
	}
	f.kvs = f.kvs[len(t.stakes):]
	return f
}
