package etcdstore

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is the key layout, and which keys a node writes: no other file spells a key. All
// nodes read everything in the plane. etcd enforces what they write if its auth is enabled and
// nodes have the roles of package etcdauth: then a node in mode hot_backup cannot lead,
// whatever it does.

// keys is the layout of one plane. Everything under root belongs to the plane; root ends with a
// slash, so that a plane whose name begins alike lies outside.
type keys struct{ root string }

func newKeys(prefix, plane string) keys { return keys{root: prefix + "/" + plane + "/"} }

// checkPrefix returns an error if prefix cannot come before the planes' names, and this one's.
//
// The first two parts of a prefix may be another plane's prefix and name, and what follows may
// then lie among that plane's keys: it must not be a word that planes use for keys.
func checkPrefix(prefix, plane string) error {
	if !strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") || strings.Contains(prefix, "//") {
		return fmt.Errorf("prefix %q: begin it with /, end it without, and use no //", prefix)
	}
	parts := append(strings.Split(prefix[1:], "/"), plane)
	for i, part := range parts {
		if i < 2 || !keyWord(part) {
			continue
		}
		return fmt.Errorf("prefix %q with plane %q: /%s can be a plane, and %q is where it has keys of its own: use another word, or a prefix of one part",
			prefix, plane, strings.Join(parts[:i], "/"), part)
	}
	return nil
}

// keyWord reports whether planes have, or will have, keys of that name or below it.
func keyWord(part string) bool {
	switch part {
	case "meta", "term", "nodes", "promise", "election", "mementos", "history", "left", "handover", "pause", "guard":
		return true
	default:
		return false
	}
}

func (k keys) meta() string     { return k.root + "meta" }
func (k keys) term() string     { return k.root + "term" }
func (k keys) handover() string { return k.root + "handover" }
func (k keys) pause() string    { return k.root + "pause" }
func (k keys) guard() string    { return k.root + "guard" }

func (k keys) nodes() string         { return k.root + "nodes/" }
func (k keys) node(id string) string { return k.nodes() + id }

func (k keys) left() string              { return k.root + "left/" }
func (k keys) leftNode(id string) string { return k.left() + id }

// electionPrefix is the prefix for etcd's election, which adds the slash.
func (k keys) electionPrefix() string { return k.root + "election" }
func (k keys) election() string       { return k.electionPrefix() + "/" }

// candidate is the key that etcd's election makes for a lease.
func (k keys) candidate(lease clientv3.LeaseID) string {
	return fmt.Sprintf("%s%x", k.election(), int64(lease))
}

func (k keys) mementos() string                { return k.root + "mementos/" }
func (k keys) memento(name rebind.Name) string { return k.mementos() + string(name) }

// mementoName copies the name, so that it does not keep the whole key in memory.
func (k keys) mementoName(key []byte) rebind.Name {
	return rebind.Name(bytes.TrimPrefix(key, []byte(k.mementos())))
}

// entry keeps terms in order as text: an int64 has at most 19 digits.
func (k keys) history() string         { return k.root + "history/" }
func (k keys) entry(term int64) string { return fmt.Sprintf("%s%020d", k.history(), term) }

// span is a range of keys: from, included, to, excluded.
type span struct{ from, to string }

func prefixed(prefix string) span {
	return span{prefix, clientv3.GetPrefixRangeEnd(prefix)}
}

func single(key string) span { return span{key, key + "\x00"} }

// plane returns the spans of everything that a master follows. They leave out the mementos and
// the history, which can be large or busy: election/, guard and handover sort before those,
// left/ lies between, the others come after.
func (k keys) plane() []span {
	return []span{
		{k.election(), k.history()},
		prefixed(k.left()),
		{k.meta(), clientv3.GetPrefixRangeEnd(k.root)},
	}
}

// near returns the spans of what a node follows that does not lead: those of plane, without
// other nodes' records and candidacies, and without the departed.
func (k keys) near(node string) []span {
	return []span{
		{k.guard(), k.history()},
		single(k.meta()),
		single(k.node(node)),
		{k.pause(), clientv3.GetPrefixRangeEnd(k.root)},
	}
}

// empty compares that there is no key in a span: the comparison of a range holds
// if it holds for each key in it.
func (s span) empty() clientv3.Cmp {
	return createdAt(s.from, 0).WithRange(s.to)
}

// never is a comparison that cannot hold: etcd checks the writes behind it and makes none.
func (k keys) never() clientv3.Cmp {
	return clientv3.Compare(clientv3.Version(k.term()), "<", 0)
}

// delete deletes what is in a span.
func (s span) delete() clientv3.Op {
	if s == single(s.from) {
		return clientv3.OpDelete(s.from)
	}
	return clientv3.OpDelete(s.from, clientv3.WithRange(s.to))
}

// without returns what lies between some keys in a span.
func (s span) without(keys ...string) []span {
	var between []span
	slices.Sort(keys)
	for _, key := range keys {
		between = append(between, span{s.from, key})
		s.from = key + "\x00"
	}
	return append(between, s)
}

// written returns the spans that a node writes in a mode; an empty node stands for any.
//
//   - its own record, and what is kept of itself when it has left: every node that is
//     in the plane
//   - what is kept of others, a pause, the election, the term, and all that is written
//     in a term: the nodes that may be promoted
//   - the guard and the state, and no more: a disabled node
func (k keys) written(mode modes.Mode, node string) []span {
	if mode == modes.Disabled {
		return []span{single(k.guard()), single(k.meta()), prefixed(k.mementos())}
	}
	record, left := prefixed(k.nodes()), prefixed(k.left())
	if node != "" {
		record = single(k.node(node))
	}
	if !mode.Promotable() {
		if node != "" {
			left = single(k.leftNode(node))
		}
		return []span{record, left}
	}
	return []span{
		record, left, single(k.pause()),
		prefixed(k.election()), single(k.term()), single(k.meta()), prefixed(k.mementos()),
		prefixed(k.history()), single(k.handover()),
	}
}
