package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file reads a plane: all keys but the mementos, at one revision.

// maxHistory is how many terms the history keeps.
const maxHistory = 200

// picture is what the keys of a plane say, with the revisions that transactions compare. It is
// filled key by key, from a read or from a watch, and belongs to one goroutine.
type picture struct {
	keys        keys
	complain    func(kv *mvccpb.KeyValue, err error)
	incarnation *incarnation // in which it was read
	revision    int64

	meta       metaValue
	metaMod    int64 // 0: there is none
	holder     driver.Holder
	termMod    int64 // 0: there is none
	handover   *driver.Offer
	pause      *driver.Pause
	pauseMod   int64 // 0: there is none
	guard      *driver.Guard
	guardMade  int64 // create revision, 0: there is none
	nodes      map[string]nodeKey
	left       map[string]driver.Departed
	candidates map[string]int64  // create revisions
	strays     map[string]int64  // of the keys in the election that are no candidacies
	unreadable map[string]string // why the other keys are not that cannot be read
}

// nodeKey is one key under nodes/.
type nodeKey struct {
	record  driver.Record
	created int64
	lease   clientv3.LeaseID
}

func (s *Store) newPicture() *picture {
	return &picture{
		keys: s.keys, complain: s.complain, nodes: make(map[string]nodeKey),
		left: make(map[string]driver.Departed), candidates: make(map[string]int64),
		strays: make(map[string]int64), unreadable: make(map[string]string),
	}
}

// put takes one key. A value that cannot be read counts as absent: it was not written by a
// node, and a transaction in whose way it is fails by its comparison.
func (p *picture) put(kv *mvccpb.KeyValue) {
	key := string(kv.Key)
	var err error
	switch {
	case key == p.keys.meta():
		p.metaMod = kv.ModRevision
		p.meta, err = decodeJSON[metaValue](kv.Value)
	case key == p.keys.term():
		p.termMod = kv.ModRevision
		p.holder, err = decodeHolder(kv.Value)
	case key == p.keys.handover():
		p.handover, err = decodeJSON[*driver.Offer](kv.Value)
		if p.handover != nil {
			p.handover.Made = rebind.Revision(kv.ModRevision)
		}
	case key == p.keys.pause():
		p.pause, p.pauseMod = new(driver.Pause), kv.ModRevision // one that cannot be read is in force as well
		*p.pause, err = decodeJSON[driver.Pause](kv.Value)
	case key == p.keys.guard():
		p.guard, p.guardMade = new(driver.Guard), kv.CreateRevision
		*p.guard, err = decodeGuard(kv)
	case strings.HasPrefix(key, p.keys.left()):
		err = take(p.left, kv, func([]byte) (driver.Departed, error) { return p.gone(kv) })
	case strings.HasPrefix(key, p.keys.election()):
		p.stand(kv)
	case strings.HasPrefix(key, p.keys.nodes()):
		err = take(p.nodes, kv, func([]byte) (nodeKey, error) { return p.node(kv) })
	}
	delete(p.unreadable, key)
	if err != nil {
		p.unreadable[key] = err.Error() + p.effect(key)
		p.complain(kv, err)
	}
}

// effect says what a key does although it cannot be read.
func (p *picture) effect(key string) string {
	switch key {
	case p.keys.guard():
		return ": no node can join, and none can begin a term, until it is deleted"
	case p.keys.pause():
		return ": nobody is promoted by itself until \"coordinator resume\""
	case p.keys.meta():
		return ": the plane's id is in it, which is another once it was deleted"
	default:
		return ": it counts for nothing"
	}
}

// stand takes a key in the election. If it does not hang on the lease that it is named after it
// is nobody's candidacy: somebody put it there, or overwrote one.
func (p *picture) stand(kv *mvccpb.KeyValue) {
	key := string(kv.Key)
	into, out := p.candidates, p.strays
	if kv.Lease == 0 || p.keys.candidate(clientv3.LeaseID(kv.Lease)) != key {
		into, out = out, into
	}
	delete(out, key)
	into[key] = kv.CreateRevision
}

// made returns the create revision of any key in the election; 0 if it is not there.
func (p *picture) made(key string) int64 { return max(p.candidates[key], p.strays[key]) }

// decodeGuard reads a guard. One that hangs on no lease, or names no node, was not written by a
// disabled node, and does not end with one. It counts nevertheless: the node that it was taken
// from may not know yet.
func decodeGuard(kv *mvccpb.KeyValue) (driver.Guard, error) {
	by, err := decodeJSON[driver.Guard](kv.Value)
	switch {
	case err != nil:
		return by, err
	case by.Node == "":
		return by, errors.New("names no node that has the plane to itself")
	case kv.Lease == 0:
		return by, errors.New("hangs on no lease: it does not end with its node")
	}
	return by, nil
}

// decodeHolder reads the term record. A term number that is out of range was not written by a
// node.
func decodeHolder(value []byte) (driver.Holder, error) {
	h, err := decodeJSON[driver.Holder](value)
	if err == nil && (h.Term < 1 || h.Term > driver.MaxTerm) {
		err = fmt.Errorf("term %d is not from 1 to %d: the record is garbled", h.Term, driver.MaxTerm)
	}
	if err != nil {
		return driver.Holder{}, err
	}
	return h, nil
}

// take puts a key's value into a map, or removes the value that it replaces.
func take[T any](into map[string]T, kv *mvccpb.KeyValue, decode func([]byte) (T, error)) error {
	v, err := decode(kv.Value)
	if err != nil {
		delete(into, string(kv.Key))
		return err
	}
	into[string(kv.Key)] = v
	return nil
}

// node reads a key under nodes/. If it is not on a lease, or names another node, it is no live
// node's record: somebody put it there.
func (p *picture) node(kv *mvccpb.KeyValue) (nodeKey, error) {
	r, err := decodeJSON[driver.Record](kv.Value)
	switch {
	case err != nil:
		return nodeKey{}, err
	case kv.Lease == 0:
		return nodeKey{}, errors.New("record is not on a lease")
	case p.keys.node(r.ID) != string(kv.Key):
		return nodeKey{}, fmt.Errorf("holds a record of node %q", r.ID)
	case !r.Mode.Valid() || !r.State.Valid():
		return nodeKey{}, errNoMode
	}
	return nodeKey{record: r, created: kv.CreateRevision, lease: clientv3.LeaseID(kv.Lease)}, nil
}

// errNoMode is the error of a record that no node has written, because it could not be written
// again.
var errNoMode = errors.New("record has no mode or no state")

// gone reads a key under left/.
func (p *picture) gone(kv *mvccpb.KeyValue) (driver.Departed, error) {
	l, err := decodeJSON[driver.Departed](kv.Value)
	switch {
	case err != nil:
		return driver.Departed{}, err
	case p.keys.leftNode(l.ID) != string(kv.Key):
		return driver.Departed{}, fmt.Errorf("holds a record of node %q", l.ID)
	case !l.Mode.Valid() || !l.State.Valid() || !l.Was.Valid():
		return driver.Departed{}, errNoMode
	}
	return l, nil
}

// maxUnreadable limits how many keys that cannot be read are remembered.
const maxUnreadable = 1000

// complain logs that a key cannot be read, once for each version of it: the plane is read
// often.
func (s *Store) complain(kv *mvccpb.KeyValue, err error) {
	s.mu.Lock()
	known := s.unreadable[string(kv.Key)] == kv.ModRevision
	if len(s.unreadable) >= maxUnreadable {
		clear(s.unreadable)
	}
	s.unreadable[string(kv.Key)] = kv.ModRevision
	s.mu.Unlock()
	if !known {
		s.log.Warn("key of the plane not readable", zap.ByteString("key", kv.Key), zap.Error(err))
	}
}

// apply takes one event.
func (p *picture) apply(ev *clientv3.Event) {
	if ev.Type == clientv3.EventTypeDelete {
		p.remove(string(ev.Kv.Key))
	} else {
		p.put(ev.Kv)
	}
}

// remove removes one key.
func (p *picture) remove(key string) {
	delete(p.unreadable, key)
	switch key {
	case p.keys.meta():
		p.meta, p.metaMod = metaValue{}, 0
	case p.keys.term():
		p.holder, p.termMod = driver.Holder{}, 0
	case p.keys.handover():
		p.handover = nil
	case p.keys.pause():
		p.pause, p.pauseMod = nil, 0
	case p.keys.guard():
		p.guard, p.guardMade = nil, 0
	default:
		delete(p.candidates, key)
		delete(p.strays, key)
		delete(p.nodes, key)
		delete(p.left, key)
	}
}

// held reports whether the election key that was given the last term still exists, on its
// lease. A key of that name made after the term record is another candidacy of the same lease:
// the one that led is gone.
func (p *picture) held() bool {
	created, ok := p.candidates[p.holder.Key]
	return ok && p.termMod != 0 && created <= p.termMod
}

// overtaken reports whether a candidate's key of that revision is older than the last term. If
// the store was restored, the term's number may be higher than any revision, and says nothing
// about age.
func (p *picture) overtaken(created int64) bool {
	restored := p.holder.Term > p.termMod
	return !restored && created <= p.holder.Term
}

// plane returns the picture as the packages above see it.
func (p *picture) plane() driver.Plane {
	plane := driver.Plane{
		PlaneCore: driver.PlaneCore{
			Revision: rebind.Revision(p.revision),
			ID:       p.meta.PlaneID, Format: p.meta.Format,
			Holder: p.holder, Held: p.held(),
			Offer: copied(p.handover), Exclusive: copied(p.guard),
		},
		Strays:   p.stray(),
		Members:  make([]driver.Member, 0, len(p.nodes)),
		Departed: slices.SortedFunc(maps.Values(p.left), func(a, b driver.Departed) int { return strings.Compare(a.ID, b.ID) }),
	}
	if !p.pause.Over(time.Now()) {
		plane.Pause = copied(p.pause)
	}
	for _, n := range p.nodes {
		key := p.keys.candidate(n.lease)
		m := driver.Member{
			Record:       n.record,
			Joined:       rebind.Revision(n.created),
			Candidacy:    rebind.Revision(p.candidates[key]),
			CandidateKey: key,
		}
		if plane.Counts(m) {
			plane.Members = append(plane.Members, m)
		}
	}
	slices.SortFunc(plane.Members, func(a, b driver.Member) int { return strings.Compare(a.ID, b.ID) })
	return plane
}

// stray returns the keys that are not what their places say.
func (p *picture) stray() []driver.Stray {
	var found []driver.Stray
	for key, why := range p.unreadable {
		found = append(found, driver.Stray{Key: key, Why: why})
	}
	for key := range p.strays {
		found = append(found, driver.Stray{Key: key, Why: "does not hang on the lease that it is named after: no node stands for election by it"})
	}
	behind := make(map[string]bool, len(p.nodes))
	for _, n := range p.nodes {
		behind[p.keys.candidate(n.lease)] = true
	}
	for key := range p.candidates {
		if !behind[key] {
			found = append(found, driver.Stray{Key: key, Why: "no live node's record hangs on its lease: no node stands for election by it"})
		}
	}
	slices.SortFunc(found, func(a, b driver.Stray) int { return strings.Compare(a.Key, b.Key) })
	return found[:min(len(found), driver.MaxStrays)]
}

func copied[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

// look reads the whole picture at one revision.
func (s *Store) look(ctx context.Context) (*picture, error) { return s.read(ctx, s.keys.plane()) }

// read reads what a picture has of some spans, at one revision.
func (s *Store) read(ctx context.Context, spans []span) (*picture, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var reads []clientv3.Op
	for _, sp := range spans {
		reads = append(reads, clientv3.OpGet(sp.from, clientv3.WithRange(sp.to)))
	}
	asked := s.incarnations.ask()
	resp, err := s.client.Txn(ctx).Then(reads...).Commit()
	if err != nil {
		return nil, s.access.meaning(err)
	}
	if err := s.incarnations.answered(asked, resp.Header); err != nil {
		return nil, err
	}
	p := s.newPicture()
	p.incarnation = asked.incarnation
	p.revision = resp.Header.Revision
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			p.put(kv)
		}
	}
	return p, nil
}

// Plane reads the plane by a linearizable read.
func (s *Store) Plane(ctx context.Context) (driver.Plane, error) {
	p, err := s.look(ctx)
	if err != nil {
		return driver.Plane{}, fmt.Errorf("read plane: %w", err)
	}
	return p.plane(), nil
}

// Size counts the live nodes by a linearizable read.
func (s *Store) Size(ctx context.Context) (int, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	asked := s.incarnations.ask()
	resp, err := s.client.Get(ctx, s.keys.nodes(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count nodes: %w", translate(err))
	}
	return int(resp.Count), s.incarnations.answered(asked, resp.Header)
}
