package etcdstore

import (
	"context"
	"fmt"
	"maps"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// follower keeps a picture of a plane by the events of watches, so that a change
// costs each node one event and not another read. One that follows for a single
// node watches what concerns that node alone: with N nodes that all did otherwise,
// a change of each would be N² events.
type follower struct {
	store   *Store
	node    string          // whom it follows for; empty for everything
	ctx     context.Context // of the one stream of its watches
	picture *picture
	group   sync.WaitGroup // hands on what the watches bring
	arrived chan arrival

	led    driver.Holder // the holder whose keys are watched, if it follows for one node
	leader []*watch      // of those keys
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

// maxArrived is how many responses can wait to be taken in together.
const maxArrived = 256

// Follow shows the plane as it is and after each change; see [driver.Store].
func (s *Store) Follow(ctx context.Context, node string, see func(driver.Plane)) error {
	spans := s.keys.plane()
	if node != "" {
		spans = s.keys.near(node)
	}
	p, err := s.read(ctx, spans)
	if err != nil {
		return fmt.Errorf("read plane: %w", err)
	}
	f := &follower{store: s, node: node, picture: p, arrived: make(chan arrival, maxArrived)}
	stream, cancel := s.stream(ctx, p.age)
	defer f.group.Wait()
	defer cancel()
	f.ctx = stream
	for _, sp := range spans {
		f.watch(sp, clientv3.WithRev(p.revision+1))
	}
	for {
		if err := f.attend(ctx); err != nil {
			return err
		}
		see(f.plane())
		if err := f.next(); err != nil {
			return err
		}
	}
}

// plane is the picture as the packages above see it.
func (f *follower) plane() driver.Plane {
	p := f.picture.plane()
	if f.node != "" {
		p.Narrow, p.Strays = true, nil
	}
	return p
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

// next waits for news and takes in all that has arrived by then: in a burst the
// picture is shown once for many.
func (f *follower) next() error {
	select {
	case a := <-f.arrived:
		if err := f.take(&a); err != nil {
			return err
		}
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	for {
		select {
		case a := <-f.arrived:
			if err := f.take(&a); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take takes in what a watch has brought. Each response brings whole revisions of
// one span; the spans are not in order to each other.
func (f *follower) take(a *arrival) error {
	if a.watch.ctx.Err() != nil && f.ctx.Err() == nil {
		return nil // of a leader that was
	}
	if err := watchErr(f.ctx, &a.resp, a.open); err != nil {
		return err
	}
	for _, ev := range a.resp.Events {
		if ev.Kv.ModRevision <= a.watch.after {
			continue
		}
		f.picture.apply(ev)
		f.store.saw(f.picture.age, ev.Kv.ModRevision)
		f.picture.revision = max(f.picture.revision, ev.Kv.ModRevision)
	}
	return nil
}

// attend has a follower that follows for one node follow the holder of the term
// as well: whether it holds it still, and its record.
//
// These watches begin at the present and are read after they began: one that began
// in the past would be up to a tenth of a second late on a busy store, and it is
// from here that nodes learn who their new master is.
func (f *follower) attend(ctx context.Context) error {
	holder := f.picture.holder
	if f.node == "" || holder.Node == f.led.Node && holder.Key == f.led.Key {
		return nil
	}
	for _, w := range f.leader {
		w.cancel()
	}
	own := f.store.keys.node(f.node)
	var spans []span
	for _, key := range []string{holder.Key, f.store.keys.node(holder.Node)} {
		if key != "" && key != own && key != f.store.keys.nodes() {
			spans = append(spans, single(key))
		}
	}
	f.led, f.leader = holder, nil
	clear(f.picture.candidates)
	clear(f.picture.strays)
	maps.DeleteFunc(f.picture.nodes, func(key string, _ nodeKey) bool { return key != own })
	if len(spans) == 0 {
		return nil
	}
	for _, sp := range spans {
		f.leader = append(f.leader, f.watch(sp))
	}
	now, err := f.store.read(ctx, spans)
	if err != nil {
		return fmt.Errorf("read what the term rests on: %w", err)
	}
	for _, w := range f.leader {
		w.after = now.revision
	}
	maps.Copy(f.picture.candidates, now.candidates)
	maps.Copy(f.picture.strays, now.strays)
	maps.Copy(f.picture.nodes, now.nodes)
	return nil
}
