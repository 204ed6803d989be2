package etcdstore

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/rebind"
)

// MinTTL is the least TTL that a store can be configured with.
const MinTTL = minTTL

// These tests reach inside for what no caller may do: take a term's clock away,
// lose an answer of etcd's, read a value as it is stored.

// Blind takes from a term everything by which its holder could know that it is
// over: the local deadline and the watch of its keys. What is left is the fence.
// The term lives on until the store is closed.
func Blind(t driver.Term) driver.Term {
	seeing := t.(*term)
	was := seeing.m
	l := &lease{store: was.store, id: was.lease.id, ctx: was.store.ctx, end: func(error) {}}
	l.until.Store(math.MaxInt64)
	m := &presence{lease: l, node: was.node, key: was.key, session: was.session}
	return &term{
		termCore: &termCore{
			m: m, number: seeing.number, recorded: seeing.recorded, conditions: seeing.conditions,
			ctx: m.store.ctx, over: func(error) {},
		},
		history: seeing.history, announced: seeing.announced,
	}
}

// Forge makes a term that nobody has given to a presence, and that no fence binds.
// What its holder does is refused by nothing but etcd's permissions.
func Forge(m driver.Presence) driver.Term {
	t := m.(*presence).newTerm(1)
	t.readHistory()
	return t
}

// Clock is the clock by which leases of s are judged.
func Clock(s *Store) time.Duration { return s.cfg.Clock() }

// BootTime is that clock where no other was asked for.
func BootTime() time.Duration { return clock.Boot() }

// SetKV has s do its reads and transactions through kv.
func SetKV(s *Store, wrap func(clientv3.KV) clientv3.KV) {
	clients := []*clientv3.Client{s.client, s.loads}
	for _, c := range slices.Compact(clients) {
		seen := c.KV.(seenKV)
		seen.KV = wrap(seen.KV)
		c.KV = seen
	}
}

// Encode and Decode are the codec of a memento's value.
func Encode(c *rebind.Content, node string, term int64, op string) string {
	return encodeMemento(c, stamp{node: node, term: term, op: op})
}

// Decode reads a value.
func Decode(value []byte) (c rebind.Content, node string, term int64, op string, err error) {
	c, by, err := decodeMemento(value)
	return c, by.node, by.term, by.op, err
}

// Kept is a key of a plane as the store has it.
type Kept struct {
	Key, Value     string
	Lease, Created int64
}

// Shown is the plane that some keys show.
func Shown(prefix, plane string, kept ...Kept) driver.Plane {
	s := &Store{keys: newKeys(prefix, plane), log: zap.NewNop(), unreadable: make(map[string]int64)}
	p := s.newPicture()
	for _, k := range kept {
		p.put(k.kv())
	}
	return p.plane()
}

func (k *Kept) kv() *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: []byte(k.Key), Value: []byte(k.Value), Lease: k.Lease, CreateRevision: k.Created, ModRevision: k.Created, Version: 1,
	}
}

// Again reads a value that is JSON, by its key, and writes it anew.
func Again(prefix, plane string, kept Kept) (string, error) {
	k, kv := newKeys(prefix, plane), kept.kv()
	p := &picture{keys: k}
	switch key := kept.Key; {
	case key == k.meta():
		return again(decodeJSON[metaValue](kv.Value))
	case key == k.term():
		return again(decodeJSON[driver.Holder](kv.Value))
	case key == k.handover():
		return again(decodeJSON[driver.Offer](kv.Value))
	case key == k.pause():
		return again(decodeJSON[driver.Pause](kv.Value))
	case key == k.guard():
		return again(decodeJSON[driver.Guard](kv.Value))
	case strings.HasPrefix(key, k.history()):
		return again(decodeJSON[driver.HistoryEntry](kv.Value))
	case strings.HasPrefix(key, k.left()):
		return again(p.gone(kv))
	case strings.HasPrefix(key, k.nodes()):
		n, err := p.node(kv)
		return again(n.record, err)
	default:
		return "", errors.New("holds no JSON")
	}
}

func again[T any](v T, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return encodeJSON(v), nil
}

// Keys are those of a plane: each of which it has one, and those of a node, a lease, a
// term and a memento.
func Keys(prefix, plane, node string, lease, term int64, name rebind.Name) []string {
	k := newKeys(prefix, plane)
	return []string{
		k.meta(), k.term(), k.handover(), k.pause(), k.guard(),
		k.node(node), k.leftNode(node), k.candidate(clientv3.LeaseID(lease)), k.entry(term), k.memento(name),
	}
}

// Spans are the ranges in which a plane reads, watches and deletes.
func Spans(prefix, plane string) (ranges [][2]string) {
	k := newKeys(prefix, plane)
	for _, sp := range append(k.plane(), prefixed(k.mementos()), prefixed(k.history()), prefixed(k.nodes()), prefixed(k.election())) {
		ranges = append(ranges, [2]string{sp.from, sp.to})
	}
	return ranges
}

// NameIn is the name of the memento that a key holds.
func NameIn(prefix, plane, key string) rebind.Name {
	return newKeys(prefix, plane).mementoName([]byte(key))
}

// SetWatcher has s watch through watcher.
func SetWatcher(s *Store, wrap func(clientv3.Watcher) clientv3.Watcher) {
	s.client.Watcher = wrap(s.client.Watcher)
}
