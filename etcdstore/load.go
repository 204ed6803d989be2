package etcdstore

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/rebind"
)

// loadStalls is how long a load waits for more: etcd reads from disk, perhaps on a busy
// machine.
const loadStalls = 10 * callTimeout

// Load reads all mementos at one revision, that of a linearizable count. While a page
// is decoded the next one is on its way.
func (s *Store) Load(ctx context.Context, page func(rebind.Page) error) (rebind.Revision, error) {
	life := s.ask()
	sp := prefixed(s.keys.mementos())
	count, err := s.page(ctx, sp, clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count mementos: %w", translate(err))
	}
	if err := s.answered(life, count.Header); err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	pages := make(chan []*mvccpb.KeyValue, 1) // with what is decoded and what is read, three pages in memory
	group.Go(func() error {
		defer close(pages)
		return s.readAll(ctx, life, sp, count.Header.Revision, pages)
	})
	group.Go(func() error {
		for kvs := range pages {
			p := rebind.Page{Total: count.Count, Changes: make([]rebind.Change, len(kvs))}
			for i, kv := range kvs {
				p.Changes[i] = s.keys.change(kv)
			}
			if err := page(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return rebind.Revision(count.Header.Revision), nil
}

// readAll sends what a span holds at a revision, page by page: as one stream, or by
// many requests where etcd is older than 3.7. A load that spans two ages is of
// neither.
func (s *Store) readAll(ctx context.Context, life question, sp span, revision int64, pages chan<- []*mvccpb.KeyValue) error {
	err := s.readStream(ctx, life, sp, revision, pages)
	if status.Code(err) == codes.Unimplemented {
		err = s.readPages(ctx, life, sp, revision, pages)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("read mementos: %w", translate(err))
	}
	return err
}

// readStream reads a span by one request. Pages make etcd count the rest of the span
// each time; a stream does not.
func (s *Store) readStream(ctx context.Context, life question, sp span, revision int64, pages chan<- []*mvccpb.KeyValue) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	stalled := time.AfterFunc(loadStalls, func() { cancel(fmt.Errorf("%w: nothing came for %s", rebind.ErrUnavailable, loadStalls)) })
	defer stalled.Stop()
	stream, err := s.client.GetStream(ctx, sp.from, clientv3.WithRange(sp.to), clientv3.WithRev(revision))
	if err != nil {
		return err
	}
	defer func() {
		cancel(nil)
		for range stream { // or the client's goroutine waits for ever to be heard
		}
	}()
	for resp := range stream {
		stalled.Stop() // whoever takes the page has the time it needs
		switch {
		case resp.Err() != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case resp.Err() != nil:
			return resp.Err()
		case resp.Header != nil: // with the last one
			if err := s.answered(life, resp.Header); err != nil {
				return err
			}
		}
		if err := send(ctx, pages, resp.Kvs); err != nil {
			return err
		}
		stalled.Reset(loadStalls)
	}
	return nil
}

// A page aims at pageBytes: small enough to bound memory and to leave etcd time for
// lease renewals, large enough that etcd's recounting of the rest of the range, once a
// page, does not matter.
const (
	pageBytes = 8 << 20
	firstPage = 128
	maxPage   = 20_000
)

// readPages reads a span by one request after the other.
func (s *Store) readPages(ctx context.Context, life question, sp span, revision int64, pages chan<- []*mvccpb.KeyValue) error {
	for limit := int64(firstPage); ; {
		resp, err := s.page(ctx, sp, clientv3.WithRev(revision), clientv3.WithLimit(limit))
		if err != nil {
			return err
		}
		if err := s.answered(life, resp.Header); err != nil {
			return err
		}
		if err := send(ctx, pages, resp.Kvs); err != nil || !resp.More {
			return err
		}
		size := int64(1)
		for _, kv := range resp.Kvs {
			size += int64(len(kv.Key) + len(kv.Value))
		}
		sp.from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		limit = min(max(int64(len(resp.Kvs))*pageBytes/size, 1), maxPage)
	}
}

func send(ctx context.Context, pages chan<- []*mvccpb.KeyValue, kvs []*mvccpb.KeyValue) error {
	select {
	case pages <- kvs:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// page makes one request for a span, which may take longer than a small call.
func (s *Store) page(ctx context.Context, sp span, how ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, loadStalls)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return s.client.Get(ctx, sp.from, append(how, clientv3.WithRange(sp.to))...)
}

// Past returns mementos as they were at a revision.
func (s *Store) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) ([]rebind.Change, bool, error) {
	sp := prefixed(s.keys.mementos())
	sp.from = s.keys.memento(start)
	resp, err := s.page(ctx, sp, clientv3.WithRev(int64(at)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, false, fmt.Errorf("read mementos at revision %d: %w", at, translate(err))
	}
	found := make([]rebind.Change, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		found[i] = s.keys.change(kv)
	}
	return found, resp.More, nil
}
