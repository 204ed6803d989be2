package etcdstore

import (
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// vacantFor reports whether the candidate key, made at revision created, may
// begin a term in what the picture shows: it exists, nobody holds the term, and
// it is neither a key that has led nor one made before the last term, which a
// handover took past it.
func (p *picture) vacantFor(key string, created int64) bool {
	hasLed := p.holder.Key == key && created <= p.termMod
	return created != 0 && !p.held() && !hasLed && !p.outlived(created)
}

// vanished reports whether the candidate key of a wait that was there is gone.
func (q *queue) vanished(created int64) bool { return created == 0 && q.seen }

// asSeen compares, for the term transaction, everything that vacantFor and the
// choice of a master looked at:
//
//   - the own election key is the one that was looked at
//   - the term record is as read, or absent as read
//   - the key named in that record is as read: gone, or a later candidacy's
//   - meta is as read, or absent as read
//   - no disabled node has the plane
//   - there is no pause, or the one that was looked at, which is over, unless an
//     operator ordered this
//   - nobody else is in the plane, if the bid wants that
func (p *picture) asSeen(m *membership, created int64, bid *driver.Bid) []clientv3.Cmp {
	key := m.candidateKey()
	compares := []clientv3.Cmp{
		createdAt(key, created),
		modifiedAt(p.keys.term(), p.termMod),
		modifiedAt(p.keys.meta(), p.metaMod),
	}
	if led := p.holder.Key; led != key && strings.HasPrefix(led, p.keys.election()) {
		compares = append(compares, createdAt(led, p.made(led)))
	}
	compares = append(compares, single(p.keys.guard()).empty())
	if !bid.Ordered {
		compares = append(compares, modifiedAt(p.keys.pause(), p.pastPause()))
	}
	if bid.Alone {
		nobodys := append(slices.Collect(maps.Keys(p.strays)), key)
		others := append(prefixed(p.keys.nodes()).without(m.key), prefixed(p.keys.election()).without(nobodys...)...)
		for _, sp := range others {
			compares = append(compares, sp.empty())
		}
	}
	return compares
}

// pastPause is the revision of a pause that is over, and whose key may still be there; 0 for
// one that is in force, or none.
func (p *picture) pastPause() int64 {
	if p.pause.Over(time.Now()) {
		return p.pauseMod
	}
	return 0
}
