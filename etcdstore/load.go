package etcdstore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

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
// read, the others read at the revision it came from.
func (s *Store) Load(ctx context.Context, page func(rebind.Page) error) (rebind.Revision, error) {
	sp := prefixed(s.keys.mementos())
	var revision, loaded int64
	life := s.ask().age
	for from, limit := sp.from, int64(firstPage); ; {
		asked := s.ask()
		asked.age = life // a load that spans two ages is of neither
		resp, err := s.page(ctx, from, sp.to, revision, limit)
		if err != nil {
			return 0, fmt.Errorf("read %d mementos from %q on: %w", limit, from, translate(err))
		}
		if err := s.answered(asked, resp.Header); err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		p := rebind.Page{Total: loaded + resp.Count, Changes: make([]rebind.Change, len(resp.Kvs))}
		size := 1
		for i, kv := range resp.Kvs {
			p.Changes[i] = s.keys.change(kv)
			size += len(kv.Key) + len(kv.Value)
		}
		if err := page(p); err != nil {
			return 0, err
		}
		if !resp.More {
			return rebind.Revision(revision), nil
		}
		loaded += int64(len(resp.Kvs))
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		limit = min(max(int64(len(resp.Kvs))*pageBytes/int64(size), 1), maxPage)
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
