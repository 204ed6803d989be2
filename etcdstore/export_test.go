package etcdstore

import (
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/rebind"
)

// These tests reach inside for what no caller may do: take a term's clock away,
// lose an answer of etcd's, read a value as it is stored.

// Blind takes from a term everything by which its holder could know that it is
// over: the local deadline and the watch of its keys. What is left is the fence.
// The term lives on until the store is closed.
func Blind(t coordinator.Term) coordinator.Term {
	seeing := t.(*term)
	was := seeing.m
	l := &lease{store: was.store, id: was.lease.id, ctx: was.store.ctx, end: func(error) {}}
	l.until.Store(math.MaxInt64)
	m := &membership{lease: l, node: was.node, key: was.key, session: was.session}
	return &term{
		m: m, number: seeing.number, recorded: seeing.recorded, stakes: seeing.stakes,
		history: seeing.history, ctx: m.store.ctx, over: func(error) {},
	}
}

// Forge makes a term that nobody has given to a membership, and that no fence binds.
// What its holder does is refused by nothing but etcd's permissions.
func Forge(m coordinator.Membership) coordinator.Term {
	t := m.(*membership).newTerm(1)
	t.readHistory()
	return t
}

// Clock is the clock by which leases of s are judged.
func Clock(s *Store) time.Duration { return s.cfg.Clock() }

// BootTime is that clock where no other was asked for.
func BootTime() time.Duration { return clock.Boot() }

// SetKV has s do its reads and transactions through kv.
func SetKV(s *Store, wrap func(clientv3.KV) clientv3.KV) { s.client.KV = wrap(s.client.KV) }

// Encode and Decode are the codec of a memento's value.
func Encode(c *rebind.Content, node string, term int64, op string) string {
	return encodeMemento(c, stamp{node: node, term: term, op: op})
}

// Decode reads a value.
func Decode(value []byte) (c rebind.Content, node string, term int64, op string, err error) {
	c, by, err := decodeMemento(value)
	return c, by.node, by.term, by.op, err
}
