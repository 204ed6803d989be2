package evidence

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrCompacted is returned if the beginning of the history is gone: the run is invalid.
var ErrCompacted = errors.New("invalid run: the store's history was compacted before it was read")

var errEnded = errors.New("the watch has ended")

// Observer watches a store from its first revision. It watches all keys, so that there is
// an event for each revision and it knows when it has reached the store's head.
type Observer struct {
	root   string
	events []Event
	seen   int64 // the last revision that was read completely
	err    error // why it has stopped
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// Observe follows the keys with the prefix root until ctx ends or [Observer.Finish] is
// called.
func Observe(ctx context.Context, client *clientv3.Client, root string) *Observer {
	o := &Observer{root: root}
	ctx, o.cancel = context.WithCancel(ctx)
	o.group.Go(func() { o.err = o.follow(ctx, client, 0) })
	return o
}

// Finish follows to the store's head and puts the history into the run. The client may be
// another one, if the first has died with its store.
func (o *Observer) Finish(ctx context.Context, client *clientv3.Client, run *Run) error {
	o.cancel()
	o.group.Wait()
	if errors.Is(o.err, ErrCompacted) {
		return o.err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the watch
	defer cancel()
	now, err := client.Get(ctx, o.root, clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("read the store's revision: %w", err)
	}
	head := now.Header.Revision
	if err := o.follow(ctx, client, head); err != nil {
		return err
	}
	run.Root, run.Events, run.Head = o.root, o.events, max(head, o.seen) // others may still write
	return nil
}

// follow watches from its current revision until the given revision, or forever if that is
// 0. An empty store has revision 1, without an event.
func (o *Observer) follow(ctx context.Context, client *clientv3.Client, until int64) error {
	if until > 0 && o.seen >= until || until == 1 {
		return nil
	}
	for resp := range client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(o.seen+1)) {
		if err := resp.Err(); errors.Is(err, rpctypes.ErrCompacted) {
			return fmt.Errorf("%w: read to revision %d, compacted at %d", ErrCompacted, o.seen, resp.CompactRevision)
		} else if err != nil {
			return fmt.Errorf("follow the store's history: %w", err)
		}
		for _, ev := range resp.Events {
			o.see(ev)
		}
		if until > 0 && o.seen >= until {
			return nil
		}
	}
	return fmt.Errorf("follow the store's history: %w", errEnded)
}

func (o *Observer) see(ev *clientv3.Event) {
	o.seen = ev.Kv.ModRevision
	key, ours := strings.CutPrefix(string(ev.Kv.Key), o.root)
	if !ours {
		return
	}
	o.events = append(o.events, Event{
		Revision: ev.Kv.ModRevision, Key: key, Deleted: ev.Type == clientv3.EventTypeDelete, Value: ev.Kv.Value,
		Created: ev.Kv.CreateRevision, Version: ev.Kv.Version, Lease: ev.Kv.Lease,
	})
}
