package httpapi

import (
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	defaultPage = 500
	maxPage     = 5000
	// maxPageBytes bounds the payloads of a page, as they are sent: one with more is
	// shorter than its limit.
	maxPageBytes = 8 << 20
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
	reading, err := s.read(r, q.wants)
	if err != nil {
		return err
	}
	if q.past != 0 {
		return s.listPast(w, r, &q, &reading)
	}
	if q.after.kept != 0 {
		if reading.View = s.listings.get(q.after.kept); reading.View == nil {
			return fmt.Errorf("%w: this listing is no longer kept, begin it again", wire.ErrGone)
		}
	}
	page, more := q.page(reading.View.Revision(), reading.View.From)
	if more {
		s.listings.keep(reading.View)
		page.Next = place{kept: reading.View.Revision(), last: lastOf(&page)}.encode()
	}
	s.describe(w.Header(), &reading)
	return reply(w, http.StatusOK, page)
}

// getTypes names the types of the mementos that there are. It costs a look per type,
// not per memento: a type's mementos stand together, and "0" is what follows "/".
func (s *Server) getTypes(w http.ResponseWriter, r *http.Request) error {
	reading, err := s.read(r, wants{})
	if err != nil {
		return err
	}
	answer := wire.Types{Revision: int64(reading.View.Revision()), Types: []string{}}
	for start, more := rebind.Name(""), true; more; {
		more = false
		for m := range reading.View.From(start) {
			answer.Types = append(answer.Types, m.Name.Type())
			start, more = rebind.Name(m.Name.Type()+"0"), true
			break
		}
	}
	slices.Sort(answer.Types) // whose order is not that of their keys
	s.describe(w.Header(), &reading)
	return reply(w, http.StatusOK, answer)
}

// listPast answers with a page of the past. Its next page can be read from any node,
// for as long as the store has the revision.
func (s *Server) listPast(w http.ResponseWriter, r *http.Request, q *listQuery, reading *coordinator.Reading) error {
	old := s.pastAt(r.Context(), q.past)
	page, more := q.page(q.past, old.from)
	if old.err != nil {
		return old.err
	}
	if more {
		page.Next = place{past: q.past, last: lastOf(&page)}.encode()
	}
	s.describePast(w.Header(), reading, q.past)
	return reply(w, http.StatusOK, page)
}

// lastOf names the last item of a page that has some.
func lastOf(page *wire.List) rebind.Name {
	last := &page.Items[len(page.Items)-1]
	return rebind.Name(last.Type + "/" + last.ID)
}

// listQuery is what a page of a listing asks for.
type listQuery struct {
	wants
	typ, prefix string
	limit       int
	values      bool
	after       place
}

func parseListQuery(v url.Values) (listQuery, error) {
	q := listQuery{typ: v.Get("type"), prefix: v.Get("prefix"), limit: defaultPage}
	var err error
	if q.wants, err = parseWants(v); err != nil {
		return q, err
	}
	if q.values, err = boolIn(v, "values"); err != nil {
		return q, err
	}
	if q.typ != "" {
		if err := rebind.CheckType(q.typ); err != nil {
			return q, err
		}
	}
	if limit := v.Get("limit"); limit != "" {
		n, ok := number(limit)
		if !ok || n < 1 || n > maxPage {
			return q, fmt.Errorf("%w: limit %.50q: use 1 to %d", rebind.ErrInvalid, limit, maxPage)
		}
		q.limit = int(n)
	}
	if after := v.Get("after"); after != "" {
		if q.after, err = decodePlace(after); err != nil {
			return q, err
		}
		if q.past != 0 && q.past != q.after.past {
			return q, fmt.Errorf("%w: after goes on with a listing of another revision than %d", rebind.ErrInvalid, q.past)
		}
		// The listing was as current as it was asked to be when it began.
		q.wants = wants{past: q.after.past}
	}
	return q, nil
}

// page fills one page, of mementos that are yielded from a name on in order, and
// tells whether there is more.
func (q *listQuery) page(at rebind.Revision, from func(rebind.Name) iter.Seq[*rebind.Memento]) (list wire.List, more bool) {
	list = wire.List{Revision: int64(at), Items: []wire.Memento{}}
	size := 0
	for m := range q.matching(from) {
		if q.values {
			size += base64.StdEncoding.EncodedLen(len(m.Payload))
		}
		if n := len(list.Items); n == q.limit || n > 0 && size > maxPageBytes {
			return list, true
		}
		item := itemOf(m)
		if q.values {
			item.Data, item.DataBase64 = payloadOf(m)
		}
		list.Items = append(list.Items, item)
	}
	return list, false
}

// matching yields what the query asks for, after the last page.
func (q *listQuery) matching(from func(rebind.Name) iter.Seq[*rebind.Memento]) iter.Seq[*rebind.Memento] {
	start := q.after.last
	if q.typ != "" {
		start = max(start, rebind.Name(q.typ+"/"+q.prefix))
	}
	return func(yield func(*rebind.Memento) bool) {
		for m := range from(start) {
			if m.Name == q.after.last {
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

// place is where a page of a listing ended. Its text form is the next of that page.
type place struct {
	kept rebind.Revision // of a listing that this node keeps, or
	past rebind.Revision // of one that is read from the store
	last rebind.Name
}

const pastPlace = "past "

func (p place) encode() string {
	text := fmt.Sprintf("%d %s", p.kept, p.last)
	if p.past != 0 {
		text = fmt.Sprintf("%s%d %s", pastPlace, p.past, p.last)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func decodePlace(token string) (place, error) {
	var p place
	text, err := base64.RawURLEncoding.DecodeString(token)
	rest, old := strings.CutPrefix(string(text), pastPlace)
	var rev rebind.Revision
	if err == nil {
		_, err = fmt.Sscanf(rest, "%d %s", &rev, &p.last)
	}
	if err == nil {
		_, err = rebind.ParseName(string(p.last))
	}
	if err != nil || rev < 1 {
		return place{}, fmt.Errorf("%w: after %.50q is not what a listing gave as next", rebind.ErrInvalid, token)
	}
	if old {
		p.past = rev
	} else {
		p.kept = rev
	}
	return p, nil
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
