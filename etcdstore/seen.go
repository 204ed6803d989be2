package etcdstore

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/internal/onestream"
)

// This file checks the header of each answer of etcd, so that a restore is noticed.

// guardClient makes a client check each answer, and makes streams of watches end when their
// connection breaks.
func guardClient(s *Store, client *clientv3.Client) {
	client.KV = seenKV{client.KV, s}
	if conn := client.ActiveConnection(); conn != nil {
		client.Watcher = clientv3.NewWatchFromWatchClient(onestream.Client(pb.NewWatchClient(conn)), client)
	}
}

// seenKV checks the header of each answer, except those of serializable reads, which tell only
// how far one member has come.
type seenKV struct {
	clientv3.KV
	store *Store
}

// Get implements clientv3.KV.
func (k seenKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	asked := k.store.incarnations.ask()
	resp, err := k.KV.Get(ctx, key, opts...)
	if op := clientv3.OpGet(key, opts...); err == nil && !op.IsSerializable() {
		_ = k.store.incarnations.answered(asked, resp.Header)
	}
	return resp, err
}

// Put implements clientv3.KV.
func (k seenKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	asked := k.store.incarnations.ask()
	resp, err := k.KV.Put(ctx, key, value, opts...)
	if err == nil {
		_ = k.store.incarnations.answered(asked, resp.Header)
	}
	return resp, err
}

// Delete implements clientv3.KV.
func (k seenKV) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	asked := k.store.incarnations.ask()
	resp, err := k.KV.Delete(ctx, key, opts...)
	if err == nil {
		_ = k.store.incarnations.answered(asked, resp.Header)
	}
	return resp, err
}

// Txn implements clientv3.KV.
func (k seenKV) Txn(ctx context.Context) clientv3.Txn { return &seenTxn{k.KV.Txn(ctx), k.store} }

// seenTxn is a transaction whose answer is checked. It has been applied, whichever store
// answered.
type seenTxn struct {
	clientv3.Txn
	store *Store
}

// If implements clientv3.Txn.
func (t *seenTxn) If(compares ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(compares...)
	return t
}

// Then implements clientv3.Txn.
func (t *seenTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Then(ops...)
	return t
}

// Else implements clientv3.Txn.
func (t *seenTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Else(ops...)
	return t
}

// Commit implements clientv3.Txn.
func (t *seenTxn) Commit() (*clientv3.TxnResponse, error) {
	asked := t.store.incarnations.ask()
	resp, err := t.Txn.Commit()
	if err == nil {
		_ = t.store.incarnations.answered(asked, resp.Header)
	}
	return resp, err
}
