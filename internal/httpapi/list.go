package httpapi

import (
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	defaultPage = 500
	maxPage     = 5000
	// keepListing is how long the revision of a listing is kept for the next page.
	keepListing = time.Minute
	// maxListings bounds how many revisions are kept: each holds on to what has
	// changed since.
	maxListings = 64
)

func (s *Server) listMementos(w http.ResponseWriter, r *http.Request) error {
	q, err := parseListQuery(r.URL.Query())
	if err != nil {
		return err
	}
	reading, err := s.read(r)
	if err != nil {
		return err
	}
	if q.revision != 0 {
		if reading.View = s.listings.get(q.revision); reading.View == nil {
			return fmt.Errorf("%w: this listing is no longer kept, begin it again", wire.ErrGone)
		}
	}
	page, more := q.page(reading.View)
	if more {
		s.listings.keep(reading.View)
		last := page.Items[len(page.Items)-1]
		page.Next = encodeNext(reading.View.Revision(), rebind.Name(last.Type+"/"+last.ID))
	}
	s.describe(w.Header(), &reading)
	return reply(w, http.StatusOK, page)
}

// listQuery is what a page of a listing asks for.
type listQuery struct {
	typ, prefix string
	limit       int
	revision    rebind.Revision // of the listing this page goes on with; 0 begins one
	after       rebind.Name
}

func parseListQuery(v url.Values) (listQuery, error) {
	q := listQuery{typ: v.Get("type"), prefix: v.Get("prefix"), limit: defaultPage}
	if q.typ != "" {
		if err := rebind.CheckType(q.typ); err != nil {
			return q, err
		}
	}
	if limit := v.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > maxPage {
			return q, fmt.Errorf("%w: limit %.50q: use 1 to %d", rebind.ErrInvalid, limit, maxPage)
		}
		q.limit = n
	}
	if after := v.Get("after"); after != "" {
		var err error
		if q.revision, q.after, err = decodeNext(after); err != nil {
			return q, err
		}
	}
	return q, nil
}

// page fills one page and tells whether there is more.
func (q *listQuery) page(v *rebind.View) (list wire.List, more bool) {
	list = wire.List{Revision: int64(v.Revision()), Items: []wire.Memento{}}
	for m := range q.matching(v) {
		if len(list.Items) == q.limit {
			return list, true
		}
		list.Items = append(list.Items, itemOf(m))
	}
	return list, false
}

// matching yields what the query asks for, after the last page.
func (q *listQuery) matching(v *rebind.View) iter.Seq[*rebind.Memento] {
	start := q.after
	if q.typ != "" {
		start = max(start, rebind.Name(q.typ+"/"+q.prefix))
	}
	return func(yield func(*rebind.Memento) bool) {
		for m := range v.From(start) {
			if m.Name == q.after {
				continue
			}
			if q.typ != "" && !strings.HasPrefix(string(m.Name), q.typ+"/"+q.prefix) {
				return // names are in order, so nothing more matches
			}
			if strings.HasPrefix(m.Name.ID(), q.prefix) && !yield(m) {
				return
			}
		}
	}
}

func itemOf(m *rebind.Memento) wire.Memento {
	return wire.Memento{
		Type: m.Name.Type(), ID: m.Name.ID(), Parent: string(m.Parent),
		ContentType: m.ContentType, Schema: m.Schema,
		CreateRevision: int64(m.Created), ModRevision: int64(m.Modified), Version: m.Version,
		Size: len(m.Payload),
	}
}

func encodeNext(rev rebind.Revision, last rebind.Name) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", rev, last))
}

func decodeNext(token string) (rev rebind.Revision, last rebind.Name, err error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %s", &rev, &last)
	}
	if err == nil {
		_, err = rebind.ParseName(string(last))
	}
	if err != nil || rev < 1 {
		return 0, "", fmt.Errorf("%w: after %.50q is not what a listing gave as next", rebind.ErrInvalid, token)
	}
	return rev, last, nil
}

// listings keeps the views that clients are paging through.
type listings struct {
	mu    sync.Mutex // guards the fields below
	views map[rebind.Revision]*kept
}

type kept struct {
	view  *rebind.View
	used  time.Time
	timer *time.Timer
}

func newListings() *listings { return &listings{views: make(map[rebind.Revision]*kept)} }

// keep holds on to a view for a while after it was last used.
func (l *listings) keep(v *rebind.View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rev := v.Revision()
	if k, ok := l.views[rev]; ok {
		k.used = time.Now()
		k.timer.Reset(keepListing)
		return
	}
	if len(l.views) == maxListings {
		l.dropOldest()
	}
	k := &kept{view: v, used: time.Now()}
	k.timer = time.AfterFunc(keepListing, func() { l.drop(rev, k) })
	l.views[rev] = k
}

func (l *listings) dropOldest() {
	var oldest rebind.Revision
	for rev, k := range l.views {
		if oldest == 0 || k.used.Before(l.views[oldest].used) {
			oldest = rev
		}
	}
	l.views[oldest].timer.Stop()
	delete(l.views, oldest)
}

func (l *listings) drop(rev rebind.Revision, k *kept) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.views[rev] == k {
		delete(l.views, rev)
	}
}

// get returns a view that is kept, or nil.
func (l *listings) get(rev rebind.Revision) *rebind.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.views[rev]; ok {
		k.used = time.Now()
		k.timer.Reset(keepListing)
		return k.view
	}
	return nil
}

func (l *listings) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rev, k := range l.views {
		k.timer.Stop()
		delete(l.views, rev)
	}
}
