package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file reads all mementos: Load at one revision, Past a page of an earlier one.

// load is one reading of all mementos at one revision. It has one goroutine that reads and one
// that decodes, both of which end before Load returns.
type load struct {
	store    *Store
	life     question
	rest     span // what is still to be read
	revision int64
	total    int64 // how many there are
	pages    chan []*mvccpb.KeyValue
	limit    int64 // of the next page, in keys

	number, newest int64 // of what was read, and its highest revision
	before         int64 // bytes counted when it began
}

// Load reads all mementos at the revision of a linearizable count. While a page is decoded the
// next one is being read. If the connection breaks it goes on at the same revision from where
// it was.
func (s *Store) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	l := load{store: s, life: s.incarnations.ask(), rest: prefixed(s.keys.mementos()), limit: firstPage, before: s.loaded.Load()}
	count, err := s.page(ctx, l.rest, clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count mementos: %w", translate(err))
	}
	if err := s.incarnations.answered(l.life, count.Header); err != nil {
		return 0, err
	}
	l.revision, l.total = count.Header.Revision, count.Count
	l.pages = make(chan []*mvccpb.KeyValue, 1) // with what is decoded and what is read, three pages in memory
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(l.pages)
		return l.readAll(ctx)
	})
	group.Go(func() error { return l.decodeAll(page) })
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return rebind.Revision(l.revision), nil
}

// tellEvery is how often a load reports how far it has come while no page is complete.
const tellEvery = time.Second

// decodeAll passes the pages on. It reports the number of mementos before the first page, and
// the bytes received so far while there is no page to report.
func (l *load) decodeAll(page func(driver.Page) error) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	if err := page(driver.Page{Total: l.total}); err != nil {
		return err
	}
	for {
		select {
		case kvs, ok := <-l.pages:
			if !ok {
				return nil
			}
			p := driver.Page{Total: l.total, Bytes: l.bytes(), Changes: make([]rebind.Change, len(kvs))}
			for i, kv := range kvs {
				p.Changes[i] = l.store.keys.change(kv)
			}
			if err := page(p); err != nil {
				return err
			}
		case <-tick.C:
			if err := page(driver.Page{Total: l.total, Bytes: l.bytes()}); err != nil {
				return err
			}
		}
	}
}

func (l *load) bytes() int64 { return l.store.loaded.Load() - l.before }

// maxFruitless is how many times in a row a load that brings no memento is tried again.
const maxFruitless = 5

// readAll reads page by page: as one stream, or by many requests if etcd is older than 3.7. A
// load fails if the store is restored meanwhile.
func (l *load) readAll(ctx context.Context) error {
	read, broken := l.readStream, false
	for tries, pause := 1, retry.NewBackoff(maxPause); ; tries++ {
		had := l.number
		err := read(ctx)
		if status.Code(err) == codes.Unimplemented {
			read = l.readPages
			err = read(ctx)
		}
		if err == nil && broken {
			return l.prove(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		err = fmt.Errorf("read mementos: %w", translate(err))
		if l.number > had {
			tries = 1
			pause.Reset()
		}
		away := errors.Is(err, rebind.ErrUnavailable) && !errors.Is(err, driver.ErrDenied) && !errors.Is(err, driver.ErrRestored)
		if !away || tries == maxFruitless {
			return err
		}
		broken = true
		l.store.log.Info("load broke off, going on where it was", zap.Int64("mementos", l.number), zap.Int64("of", l.total), zap.Error(err))
		if err := retry.Wait(ctx, pause.Next()); err != nil {
			return err
		}
	}
}

// prove checks that all pieces of a load that was interrupted are of one history: meanwhile the
// store may have been replaced by one that has reached the same revision differently.
func (l *load) prove(ctx context.Context) error {
	all := prefixed(l.store.keys.mementos())
	found, err := l.store.page(ctx, all, clientv3.WithRev(l.revision), clientv3.WithKeysOnly(), clientv3.WithLimit(1),
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	if err != nil {
		return fmt.Errorf("read the newest memento: %w", translate(err))
	}
	if err := l.store.incarnations.answered(l.life, found.Header); err != nil {
		return err
	}
	newest := int64(0)
	if len(found.Kvs) > 0 {
		newest = found.Kvs[0].ModRevision
	}
	if found.Count != l.number || newest != l.newest {
		return fmt.Errorf("%w: its history has changed during a load: %d mementos and the newest of revision %d, not %d and %d",
			rebind.ErrUnavailable, found.Count, newest, l.number, l.newest)
	}
	return nil
}

// readStream reads the rest by one request. With pages etcd counts the rest of the span each
// time; with a stream it does not.
func (l *load) readStream(ctx context.Context) error {
	ctx, silence, done := withSilenceTimer(ctx, l.store)
	defer done()
	stream, err := l.store.loads.GetStream(ctx, l.rest.from, clientv3.WithRange(l.rest.to), clientv3.WithRev(l.revision))
	if err != nil {
		return err
	}
	defer func() {
		done()
		for range stream { // or the client's goroutine waits for ever to be heard
		}
	}()
	for resp := range stream {
		silence.pause() // whoever takes the page has the time it needs
		switch {
		case resp.Err() != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case resp.Err() != nil:
			return resp.Err()
		case resp.Header != nil: // with the last one
			if err := l.store.incarnations.answered(l.life, resp.Header); err != nil {
				return err
			}
		}
		if err := l.send(ctx, resp.Kvs); err != nil {
			return err
		}
		silence.resume()
	}
	return nil
}

// A page aims at pageBytes: small enough to limit memory and to leave etcd time for lease
// renewals, large enough that etcd's counting of the rest, once a page, does not matter. On a
// slow link it aims at pageTime.
const (
	pageBytes = 8 << 20
	pageTime  = 2 * time.Second
	firstPage = 16
	maxPage   = 20_000
)

// readPages reads the rest by one request after the other.
func (l *load) readPages(ctx context.Context) error {
	for {
		began := time.Now()
		resp, err := l.store.page(ctx, l.rest, clientv3.WithRev(l.revision), clientv3.WithLimit(l.limit))
		if err != nil {
			l.limit = max(l.limit/2, 1)
			return err
		}
		if err := l.store.incarnations.answered(l.life, resp.Header); err != nil {
			return err
		}
		l.limit = nextLimit(resp.Kvs, time.Since(began))
		if err := l.send(ctx, resp.Kvs); err != nil || !resp.More {
			return err
		}
	}
}

// nextLimit returns how many keys to ask for, after a page and the time that it took.
func nextLimit(kvs []*mvccpb.KeyValue, took time.Duration) int64 {
	size := int64(1)
	for _, kv := range kvs {
		size += int64(len(kv.Key) + len(kv.Value))
	}
	part := min(float64(pageBytes)/float64(size), float64(pageTime)/float64(took+1))
	return min(max(int64(float64(len(kvs))*part), 1), maxPage)
}

// send passes a page to decodeAll.
func (l *load) send(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	if len(kvs) == 0 {
		return nil
	}
	select {
	case l.pages <- kvs:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.rest.from = string(kvs[len(kvs)-1].Key) + "\x00"
	l.number += int64(len(kvs))
	for _, kv := range kvs {
		l.newest = max(l.newest, kv.ModRevision)
	}
	return nil
}

// page makes one request for a span, which may take as long as bytes arrive.
func (s *Store) page(ctx context.Context, sp span, how ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, _, done := withSilenceTimer(ctx, s)
	defer done()
	resp, err := s.loads.Get(ctx, sp.from, append(how, clientv3.WithRange(sp.to))...)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// Tally counts the mementos that there were at a revision.
func (s *Store) Tally(ctx context.Context, at rebind.Revision) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, loadStalls)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	asked, sp := s.incarnations.ask(), prefixed(s.keys.mementos())
	resp, err := s.client.Get(ctx, sp.from, clientv3.WithRange(sp.to), clientv3.WithRev(int64(at)), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count mementos at revision %d: %w", at, translate(err))
	}
	return resp.Count, s.incarnations.answered(asked, resp.Header)
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
