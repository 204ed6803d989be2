package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file holds the presence of a node: how it joins, what it publishes, and how it leaves. Its
// lease is in lease.go, its candidacy in candidacy.go.

// presence is one lease with what hangs on it: the node's record and, while it
// stands for election, its election key.
type presence struct {
	*lease
	node string // whose it is
	key  string // its record's key
	// session is a handle that etcd's election wants. It keeps nothing alive:
	// the lease does that.
	session *concurrency.Session

	stood atomic.Bool  // an election key may have been made under the lease
	held  atomic.Int64 // the last revision at which the record was put here by this process

	// The next fields belong to Campaign, of which there is one at a time.
	queue   *queue // where the node waits; nil while it does not
	doubt   bool   // an election key may still appear under the lease
	lastLed int64  // the number of the last term held under this lease
	looked  int64  // the revision at which the plane was looked at last
}

var _ driver.Presence = (*presence)(nil)

// Join publishes r on a new lease, by a transaction that finds no process's record
// of that node. The record and its lease come into being together: a process that dies
// at any point leaves at most an empty lease that lapses.
func (s *Store) Join(ctx context.Context, r driver.Record) (driver.Presence, error) {
	if err := s.endLastLease(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	l, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	m := &presence{lease: l, node: r.ID, key: s.keys.node(r.ID)}
	if err := m.enter(ctx, r); err != nil {
		l.end(driver.ErrLeaseLost)
		l.gone()                                   // nothing rests on it
		s.group.Go(func() { _ = l.revoke(s.ctx) }) // or it lapses
		return nil, fmt.Errorf("join as %s: %w", r.ID, err)
	}
	return m, nil
}

// lastLease is the lease of an earlier process of this node, or of a try of this one that
// failed.
type lastLease struct {
	id   clientv3.LeaseID // 0: none
	ours bool
}

// endLastLease ends the last lease, unless it turns out to be a living process's: what
// this one knows of it may have been copied together with its machine.
func (s *Store) endLastLease(ctx context.Context) error {
	s.mu.Lock()
	last := s.lastLease
	s.mu.Unlock()
	if last.id == 0 {
		return nil
	}
	// Most have ended cleanly, and etcd complains of a lease that is not there.
	resp, err := s.client.TimeToLive(ctx, last.id, clientv3.WithAttachedKeys())
	if err = translate(err); errors.Is(err, driver.ErrDenied) {
		s.setLastLease(lastLease{}) // what hangs on it is not this plane's
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the lease of this node's last process: %w", err)
	}
	if resp.TTL >= 0 {
		holder, found, err := s.holder(ctx, resp.Keys)
		if err != nil {
			return fmt.Errorf("look for the record of this node's last process: %w", err)
		}
		if !last.ours && found && s.cfg.StillAlive(ctx, holder) {
			return &driver.TakenError{Holder: holder}
		}
		if err := s.revoke(ctx, last.id); err != nil {
			return fmt.Errorf("end the lease of this node's last process: %w", err)
		}
	}
	s.setLastLease(lastLease{})
	return nil
}

// holder is the record among some keys, or the key guard read as one, if there is either.
func (s *Store) holder(ctx context.Context, keys [][]byte) (r driver.Record, found bool, err error) {
	for _, key := range keys {
		guard := string(key) == s.keys.guard()
		if !guard && !strings.HasPrefix(string(key), s.keys.nodes()) {
			continue
		}
		resp, err := s.client.Get(ctx, string(key))
		if err != nil {
			return r, false, translate(err)
		}
		for _, kv := range resp.Kvs {
			var broken error
			if guard {
				var by driver.Guard
				by, broken = decodeJSON[driver.Guard](kv.Value)
				r = driver.Record{ID: by.Node, URI: by.URI}
			} else {
				r, broken = decodeJSON[driver.Record](kv.Value)
			}
			return r, broken == nil, nil
		}
	}
	return r, false, nil
}

func (s *Store) setLastLease(last lastLease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastLease = last
}

func (m *presence) enter(ctx context.Context, r driver.Record) error {
	s := m.store
	s.cfg.OnLease(int64(m.id))
	session, err := concurrency.NewSession(s.client, concurrency.WithLease(m.id), concurrency.WithContext(s.ctx))
	if err != nil {
		return fmt.Errorf("make election session: %w", translate(err))
	}
	session.Orphan()
	m.session = session
	resp, err := s.client.Txn(ctx).
		If(m.nobodys(), single(s.keys.guard()).empty()).
		Then(m.putRecord(r), clientv3.OpDelete(s.keys.leftNode(r.ID))).
		Else(clientv3.OpGet(m.key), clientv3.OpGet(s.keys.guard())).
		Commit()
	if err != nil {
		return translate(err)
	}
	if resp.Succeeded {
		m.held.Store(resp.Header.Revision)
		return nil
	}
	found := resp.Responses[0].GetResponseRange().Kvs
	if len(found) == 0 {
		return exclusiveError(resp.Responses[1].GetResponseRange().Kvs)
	}
	holder, err := decodeJSON[driver.Record](found[0].Value)
	if err != nil {
		holder.ID = r.ID
	}
	return &driver.TakenError{Holder: holder}
}

// nobodys compares that the record's key is no process's: it is not there, or on no
// lease, as no process ever puts it.
func (m *presence) nobodys() clientv3.Cmp {
	return clientv3.Compare(clientv3.LeaseValue(m.key), "=", clientv3.NoLease)
}

func (m *presence) putRecord(r driver.Record) clientv3.Op {
	return clientv3.OpPut(m.key, encodeJSON(r), clientv3.WithLease(m.id))
}

// Publish replaces the record, unless it has become another process's.
func (m *presence) Publish(ctx context.Context, r driver.Record) error {
	if !m.live() {
		return m.Cause()
	}
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	err := m.writeRecord(ctx, r)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrNodeTaken):
		return fmt.Errorf("publish record: %w", err)
	}
	err = fmt.Errorf("publish record: %w", translate(err))
	if errors.Is(err, driver.ErrLeaseLost) {
		m.end(err) // etcd has just said so, and the next renewal could say no more
	}
	return err
}

// publish returns etcd's errors as they are.
func (m *presence) writeRecord(ctx context.Context, r driver.Record) error {
	put := m.putRecord(r)
	free := single(m.store.keys.guard()).empty()
	resp, err := m.store.client.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(m.key), "=", m.id)).
		Then(put).
		Else(clientv3.OpTxn(
			[]clientv3.Cmp{m.nobodys(), free},
			[]clientv3.Op{put}, []clientv3.Op{clientv3.OpGet(m.key)},
		)).
		Commit()
	if err != nil {
		return err
	}
	if resp.Succeeded || resp.Responses[0].GetResponseTxn().Succeeded {
		m.held.Store(resp.Header.Revision)
		return nil
	}
	found := resp.Responses[0].GetResponseTxn().Responses[0].GetResponseRange().Kvs
	if len(found) == 0 {
		return driver.ErrNodeTaken // by a disabled node, with the whole plane
	}
	// On another lease. Another process writes its record where there is none. What was put
	// over this one's, or says what no other process would, is none.
	holder, err := decodeJSON[driver.Record](found[0].Value)
	another := err == nil && holder.ID == r.ID && holder.Instance != r.Instance
	if another && found[0].CreateRevision > m.held.Load() {
		return driver.ErrNodeTaken
	}
	again, err := m.store.client.Txn(ctx).If(modifiedAt(m.key, found[0].ModRevision), free).Then(put).Commit()
	if err == nil && !again.Succeeded {
		err = errors.New("the record has changed meanwhile")
	}
	return err
}

// Owns reports whether the record of a member hangs on this lease.
func (m *presence) Owns(of driver.Member) bool { return of.CandidateKey == m.candidateKey() }

// Lost returns a channel that is closed when the presence is over.
func (m *presence) Lost() <-chan struct{} { return m.ctx.Done() }

// Cause says why the presence is over.
func (m *presence) Cause() error { return context.Cause(m.ctx) }

// Leave ends the presence and revokes the lease.
func (m *presence) Leave(ctx context.Context, last *driver.Departed) error {
	m.end(errLeft)
	if last != nil {
		if err := m.remember(ctx, *last); err != nil {
			m.store.log.Warn("last record not kept", zap.Error(err))
		}
	}
	return m.revoke(ctx)
}

var errLeft = fmt.Errorf("%w: left the plane", driver.ErrLeaseLost)

// remember replaces the record by what is kept of a node that left, and deletes
// the candidacy, so that all of it happens at one revision.
func (m *presence) remember(ctx context.Context, last driver.Departed) error {
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	put, err := m.store.leftOp(ctx, last)
	if err != nil {
		return err
	}
	writes := []clientv3.Op{put, clientv3.OpDelete(m.key)}
	if m.stood.Load() { // a node that never stands may have no permission for this
		writes = append(writes, clientv3.OpDelete(m.candidateKey()))
	}
	_, err = m.store.client.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(m.key), "=", m.id)).
		Then(writes...).
		Commit()
	return translate(err)
}

// leftOp makes the write that keeps a node visible which left, on a lease of its
// own that nobody renews.
func (s *Store) leftOp(ctx context.Context, l driver.Departed) (clientv3.Op, error) {
	resp, err := s.client.Grant(ctx, int64(driver.Remembered/time.Second))
	if err != nil {
		return clientv3.Op{}, fmt.Errorf("obtain a lease: %w", translate(err))
	}
	return clientv3.OpPut(s.keys.leftNode(l.ID), encodeJSON(l), clientv3.WithLease(resp.ID)), nil
}
