package etcdstore

import (
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file commits the writes of deltas.

// maxRequest is the largest request that etcd takes by default. etcd measures the request as it
// passes it on, so what is sent has to be a little smaller.
const maxRequest = driver.MaxPayload + 16<<10 // 1.5 MiB

// opOverhead is what an operation adds to a request beside four times its key, and its value:
// rather more than was measured.
const opOverhead = 96

// mementoTxn makes the transaction of writes. Because it compares each memento's modified revision
// it is safe to send twice.
func mementoTxn(t *termCore, writes []driver.Write) (fencedTxn, error) {
	w := fencedTxn{compares: make([]clientv3.Cmp, 0, len(writes)), ops: make([]clientv3.Op, 0, len(writes))}
	size := opOverhead
	for i := range writes {
		op := &writes[i]
		key := t.m.store.keys.memento(op.Name)
		size += 4*len(key) + opOverhead
		w.compares = append(w.compares, modifiedAt(key, int64(op.Base)))
		if op.Put == nil {
			w.ops = append(w.ops, clientv3.OpDelete(key))
			continue
		}
		value := encodeMemento(op.Put, stamp{node: t.m.node, term: t.number, op: op.ID})
		size += len(value)
		w.ops = append(w.ops, clientv3.OpPut(key, value))
	}
	if size > maxRequest {
		return fencedTxn{}, fmt.Errorf("%w: it makes a request of about %d bytes, the store takes %d", driver.ErrTooLarge, size, maxRequest)
	}
	w.size = size
	w.readOps = func(how ...clientv3.OpOption) []clientv3.Op {
		reads := make([]clientv3.Op, len(writes))
		for i := range writes {
			reads[i] = clientv3.OpGet(t.m.store.keys.memento(writes[i].Name), how...)
		}
		return reads
	}
	w.judge = func(f *readBack) (txnOutcome, int64) { return judgeWrites(t.number, writes, f) }
	w.refuse = func(f *readBack) error { return &driver.BaseError{Actual: modRevisions(f)} }
	return w, nil
}

// judgeWrites finds whether a term's writes were made, by what their mementos are now. A negative base,
// which no memento has, was sent to learn the true one.
//
// A put carries the term and the delta's id. The id alone proves nothing: the caller may have
// had another master store it since, and deltas that are written together here are not
// necessarily together there. A deletion leaves no trace, so it counts as this delta's while
// nobody else can have written.
//
// If everything is as before the delta was not applied, with one exception: after the term is
// over, something that the delta created may have been there, and deleted by the next master.
func judgeWrites(term int64, writes []driver.Write, f *readBack) (txnOutcome, int64) {
	actual := modRevisions(f)
	same, deleted, makes, changes := true, true, false, false
	for i := range writes {
		base := writes[i].Base
		if base < 0 {
			return never, 0
		}
		same = same && actual[i] == base
		changes = changes || base != 0
		if writes[i].Put == nil {
			deleted = deleted && actual[i] == 0
			continue
		}
		deleted = false
		makes = makes || base == 0
		if actual[i] == 0 || actual[i] == base {
			continue // what was there before may have the same id
		}
		if _, by, err := decodeMemento(f.kvs[i][0].Value); err == nil && by.term == term && by.op == writes[i].ID {
			return applied, int64(actual[i])
		}
	}
	switch {
	case same && f.fenced && makes && !changes:
		return unclear, 0
	case same:
		return unchanged, 0
	case deleted && !f.fenced:
		return applied, f.revision
	default:
		return unclear, 0
	}
}

// modRevisions returns the modified revision of each key read, 0 for none.
func modRevisions(f *readBack) []rebind.Revision {
	actual := make([]rebind.Revision, len(f.kvs))
	for i, kvs := range f.kvs {
		if len(kvs) > 0 {
			actual[i] = rebind.Revision(kvs[0].ModRevision)
		}
	}
	return actual
}
