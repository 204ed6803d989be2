package etcdstore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/rebind"
)

// A page of a load aims at pageBytes: small enough to bound memory and to leave
// etcd time for lease renewals, large enough that etcd's recounting of the rest
// of the range, once a page, does not matter.
const (
	pageBytes = 4 << 20
	firstPage = 128
	maxPage   = 5000
)

// Load reads all mementos at one revision: the first page is a linearizable
// read, the others read at the revision it came from. While a page is decoded the
// next one is on its way.
func (s *Store) Load(ctx context.Context, page func(rebind.Page) error) (rebind.Revision, error) {
	group, ctx := errgroup.WithContext(ctx)
	pages := make(chan *clientv3.GetResponse, 1) // with what is decoded and what is read, three pages in memory
	group.Go(func() error {
		defer close(pages)
		return s.readPages(ctx, pages)
	})
	var revision, loaded int64
	group.Go(func() error {
		for resp := range pages {
			if revision == 0 {
				revision = resp.Header.Revision
			}
			p := rebind.Page{Total: loaded + resp.Count, Changes: make([]rebind.Change, len(resp.Kvs))}
			for i, kv := range resp.Kvs {
				p.Changes[i] = s.keys.change(kv)
			}
			if err := page(p); err != nil {
				return err
			}
			loaded += int64(len(resp.Kvs))
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return rebind.Revision(revision), nil
}

// readPages sends one page after the other.
func (s *Store) readPages(ctx context.Context, pages chan<- *clientv3.GetResponse) error {
	sp := prefixed(s.keys.mementos())
	life := s.ask().age
	var revision int64
	for from, limit := sp.from, int64(firstPage); ; {
		asked := s.ask()
		asked.age = life // a load that spans two ages is of neither
		resp, err := s.page(ctx, from, sp.to, revision, limit)
		if err != nil {
			return fmt.Errorf("read %d mementos from %q on: %w", limit, from, translate(err))
		}
		if err := s.answered(asked, resp.Header); err != nil {
			return err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		select {
		case pages <- resp:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !resp.More {
			return nil
		}
		size := int64(1)
		for _, kv := range resp.Kvs {
			size += int64(len(kv.Key) + len(kv.Value))
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		limit = min(max(int64(len(resp.Kvs))*pageBytes/size, 1), maxPage)
	}
}

// page reads one page. It may take longer than a small call: etcd reads it from
// disk, perhaps on a busy machine.
func (s *Store) page(ctx context.Context, from, to string, revision, limit int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*callTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(revision), clientv3.WithLimit(limit))
}

// Past returns mementos as they were at a revision.
func (s *Store) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) ([]rebind.Change, bool, error) {
	sp := prefixed(s.keys.mementos())
	resp, err := s.page(ctx, s.keys.memento(start), sp.to, int64(at), int64(limit))
	if err != nil {
		return nil, false, fmt.Errorf("read mementos at revision %d: %w", at, translate(err))
	}
	found := make([]rebind.Change, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		found[i] = s.keys.change(kv)
	}
	return found, resp.More, nil
}
