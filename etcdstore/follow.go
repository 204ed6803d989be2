package etcdstore

import (
	"context"
	"fmt"
	"maps"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// This file is how the package follows keys of a plane other than the mementos: a follower
// reads some spans once and keeps that picture current by the events of watches, so that a
// change costs one event and not another read. It is used to follow the whole plane, what
// is near one node, and what a candidate or a term depends on.

// follower keeps a picture of some spans current. It belongs to one goroutine.
type follower struct {
	store   *Store
	picture *picture
	ctx     context.Context // of the one stream of its watches
	cancel  context.CancelFunc
	group   sync.WaitGroup // passes on what the watches bring
	arrived chan arrival
}

// watch is one watch of a follower.
type watch struct {
	ctx    context.Context
	cancel context.CancelFunc
	after  int64 // what it brings of this revision and earlier ones is known
}

// arrival is what a watch has brought.
type arrival struct {
	watch *watch
	resp  clientv3.WatchResponse
	open  bool
}

// maxArrived is how many responses can wait to be taken together.
const maxArrived = 256

// followSpans reads some spans at one revision and watches them from there. Call stop when
// done, also to end a call of next.
func (s *Store) followSpans(ctx context.Context, spans []span) (*follower, error) {
	p, err := s.read(ctx, spans)
	if err != nil {
		return nil, err
	}
	f := &follower{store: s, picture: p, arrived: make(chan arrival, maxArrived)}
	f.ctx, f.cancel = s.stream(ctx, p.incarnation)
	for _, sp := range spans {
		f.watch(sp, clientv3.WithRev(p.revision+1))
	}
	return f, nil
}

// stop ends the watches and blocks until they have ended.
func (f *follower) stop() {
	f.cancel()
	f.group.Wait()
}

// watch begins to watch a span. It returns when the store has taken that up.
func (f *follower) watch(sp span, opts ...clientv3.OpOption) *watch {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancel(f.ctx)
	events := f.store.client.Watch(w.ctx, sp.from, append(opts, clientv3.WithRange(sp.to))...)
	f.group.Go(func() {
		for a := (arrival{watch: w, open: true}); a.open; {
			a.resp, a.open = <-events
			select {
			case f.arrived <- a:
			case <-f.ctx.Done():
				return
			}
		}
	})
	return w
}

// next waits for changes and takes all that have arrived by then, so that in a burst the
// picture is shown once for many. each, if not nil, is called after every single one.
func (f *follower) next(each func(*picture)) error {
	select {
	case a := <-f.arrived:
		if err := f.take(&a, each); err != nil {
			return err
		}
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	for {
		select {
		case a := <-f.arrived:
			if err := f.take(&a, each); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take applies what a watch has brought. Each response brings whole revisions of one span;
// the spans are not in order to each other.
func (f *follower) take(a *arrival, each func(*picture)) error {
	if a.watch.ctx.Err() != nil && f.ctx.Err() == nil {
		return nil // of a watch that was given up
	}
	if err := watchErr(f.ctx, &a.resp, a.open); err != nil {
		return err
	}
	for _, ev := range a.resp.Events {
		if ev.Kv.ModRevision <= a.watch.after {
			continue
		}
		f.picture.apply(ev)
		f.store.incarnations.saw(f.picture.incarnation, ev.Kv.ModRevision)
		f.picture.revision = max(f.picture.revision, ev.Kv.ModRevision)
		if each != nil {
			each(f.picture)
		}
	}
	return nil
}

// Follow shows the plane as it is and after each change; see [driver.Store].
func (s *Store) Follow(ctx context.Context, see func(driver.Plane)) error {
	f, err := s.followSpans(ctx, s.keys.plane())
	if err != nil {
		return fmt.Errorf("read plane: %w", err)
	}
	defer f.stop()
	for {
		see(f.picture.plane())
		if err := f.next(nil); err != nil {
			return err
		}
	}
}

// FollowNear shows what concerns one node; see [driver.Store].
func (s *Store) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	f, err := s.followSpans(ctx, s.keys.near(node))
	if err != nil {
		return fmt.Errorf("read plane: %w", err)
	}
	defer f.stop()
	n := nearFollower{follower: f, node: node}
	for {
		if err := n.followHolder(ctx); err != nil {
			return err
		}
		p := n.picture.plane()
		see(p.Near(node))
		if err := n.next(nil); err != nil {
			return err
		}
	}
}

// nearFollower follows what concerns one node, and the keys of the node that holds the
// term, which change with the term.
type nearFollower struct {
	*follower
	node    string        // the one that it follows for
	holder  driver.Holder // whose keys are watched
	watches []*watch      // of those keys
}

// followHolder follows the holder of the term as well: its election key and its record.
//
// These watches begin at the present and are read after they began. A watch that began in
// the past would be up to a tenth of a second late on a busy store, and it is from these
// that nodes learn who their new master is.
func (f *nearFollower) followHolder(ctx context.Context) error {
	holder := f.picture.holder
	if holder.Node == f.holder.Node && holder.Key == f.holder.Key {
		return nil
	}
	for _, w := range f.watches {
		w.cancel()
	}
	own := f.store.keys.node(f.node)
	var spans []span
	for _, key := range []string{holder.Key, f.store.keys.node(holder.Node)} {
		if key != "" && key != own && key != f.store.keys.nodes() {
			spans = append(spans, single(key))
		}
	}
	f.holder, f.watches = holder, nil
	clear(f.picture.candidates)
	clear(f.picture.strays)
	maps.DeleteFunc(f.picture.nodes, func(key string, _ nodeKey) bool { return key != own })
	if len(spans) == 0 {
		return nil
	}
	for _, sp := range spans {
		f.watches = append(f.watches, f.watch(sp))
	}
	now, err := f.store.read(ctx, spans)
	if err != nil {
		return fmt.Errorf("read what the term depends on: %w", err)
	}
	for _, w := range f.watches {
		w.after = now.revision
	}
	maps.Copy(f.picture.candidates, now.candidates)
	maps.Copy(f.picture.strays, now.strays)
	maps.Copy(f.picture.nodes, now.nodes)
	return nil
}

// watchHolder calls see with the term record, the given key and the pause as they
// are and after each single change, so that none that comes and goes is missed, until see
// returns false or ctx ends. It survives broken streams. The picture shows nothing else.
func (s *Store) watchHolder(ctx context.Context, key string, see func(*picture) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := func(p *picture) {
		if ctx.Err() == nil && !see(p) {
			cancel()
		}
	}
	spans := []span{single(s.keys.term()), single(key), single(s.keys.pause())}
	for pause := retry.NewBackoff(maxPause); ctx.Err() == nil; {
		f, err := s.followSpans(ctx, spans)
		if err == nil {
			pause.Reset()
			look(f.picture)
			for err == nil {
				err = f.next(look)
			}
			f.stop()
		}
		if ctx.Err() == nil {
			s.log.Debug("term record out of sight, retrying", zap.Error(err))
			_ = retry.Wait(ctx, pause.Next())
		}
	}
}
