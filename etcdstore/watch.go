package etcdstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file opens streams of watches, and follows the mementos. See follow.go for the other
// keys.

// stream returns a context whose watches share one grpc stream of their own. A token is bound
// to the stream on which it was first used, and a request for progress waits for all watches of
// its stream, so streams are not shared. A leader is required: a member that is cut off from
// the others ends the stream and does not fall silent.
//
// The context ends with the incarnation that the watch's first revision belongs to, and when a
// member of etcd is left out.
func (s *Store) stream(ctx context.Context, a *incarnation) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	route := s.prober.routeContext()
	stopAge := context.AfterFunc(a.ctx, func() { cancel(context.Cause(a.ctx)) })
	stopRoute := context.AfterFunc(route, func() { cancel(context.Cause(route)) })
	ctx = clientv3.WithRequireLeader(metadata.AppendToOutgoingContext(ctx, "coordinator-stream", rand.Text()))
	return ctx, func() { stopAge(); stopRoute(); cancel(nil) }
}

// maxMessage limits, in bytes, what a watch receives at once. For a watch that begins in the
// past etcd puts a thousand revisions into one message, however large they are; loading a copy
// anew takes less memory than that. One delta is far smaller, and so are the deletions of all
// mementos at once.
const maxMessage = 64 << 20

// boundWatch makes watches fail that receive more than that.
func boundWatch(ctx context.Context, desc *grpc.StreamDesc, on *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == "/etcdserverpb.Watch/Watch" {
		options = append(options, grpc.MaxCallRecvMsgSize(maxMessage))
	}
	return open(ctx, desc, on, method, options...)
}

// watchErr returns the error that a response of a watch tells of, if it does; open is false if
// the channel was closed.
func watchErr(ctx context.Context, resp *clientv3.WatchResponse, open bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := resp.Err(); err != nil && strings.Contains(err.Error(), "received message larger than max") {
		return fmt.Errorf("%w: too much has changed to be told at once: %w", driver.ErrCompacted, err)
	} else if err != nil {
		return translate(refusedWatch(err))
	}
	if !open {
		return fmt.Errorf("%w: watch closed", rebind.ErrUnavailable)
	}
	return nil
}

// watcher is one stream of changes of mementos.
type watcher struct {
	store       *Store
	incarnation *incarnation
	ctx         context.Context
	cancel      context.CancelFunc
	watch       clientv3.WatchChan
	broken      atomic.Bool
}

// Watch opens a stream of all changes of mementos after the given revision.
//
// It does not ask for fragments of what is too much for one message: etcd measures
// the fragment anew for each event that it adds, so a hundred thousand deletions at
// one revision keep it busy for minutes. In one message they take a third of a second.
func (s *Store) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	age := s.incarnations.ask().incarnation
	ctx, cancel := s.stream(ctx, age)
	sp := prefixed(s.keys.mementos())
	return &watcher{
		store: s, incarnation: age, ctx: ctx, cancel: cancel,
		watch: s.client.Watch(ctx, sp.from, clientv3.WithRange(sp.to), clientv3.WithRev(int64(after)+1)),
	}
}

// Next returns the next batch. A response always brings whole revisions. It reaches as far as
// its last event: the header can be ahead of what was sent to a watch that is catching up.
// Only a progress notice reaches as far as its header says.
func (w *watcher) Next(ctx context.Context) (driver.Batch, error) {
	for {
		select {
		case resp, open := <-w.watch:
			if err := watchErr(w.ctx, &resp, open); err != nil {
				w.broken.Store(true)
				return driver.Batch{}, err
			}
			if resp.IsProgressNotify() {
				w.store.incarnations.saw(w.incarnation, resp.Header.Revision)
				return driver.Batch{Revision: rebind.Revision(resp.Header.Revision)}, nil
			}
			if len(resp.Events) == 0 {
				continue
			}
			w.store.incarnations.saw(w.incarnation, resp.Events[len(resp.Events)-1].Kv.ModRevision)
			return w.batch(resp.Events), nil
		case <-ctx.Done():
			return driver.Batch{}, context.Cause(ctx)
		}
	}
}

func (w *watcher) batch(events []*clientv3.Event) driver.Batch {
	b := driver.Batch{Changes: make([]rebind.Change, len(events))}
	for i, ev := range events {
		if ev.Type == clientv3.EventTypeDelete {
			b.Changes[i] = rebind.Change{
				Name:     w.store.keys.mementoName(ev.Kv.Key),
				Revision: rebind.Revision(ev.Kv.ModRevision),
			}
		} else {
			b.Changes[i] = w.store.keys.change(ev.Kv)
		}
		b.Revision = rebind.Revision(ev.Kv.ModRevision)
	}
	return b
}

// Progress asks etcd how far the stream has come.
func (w *watcher) Progress(context.Context) error {
	if w.broken.Load() { // or it would be asked for on a stream of its own
		return fmt.Errorf("%w: the stream is broken", rebind.ErrUnavailable)
	}
	// The watch's own context selects its stream.
	if err := w.store.client.RequestProgress(w.ctx); err != nil {
		return translate(err)
	}
	return nil
}

// Close ends the stream.
func (w *watcher) Close() { w.cancel() }
