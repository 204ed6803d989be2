// This file lists mementos in pages, and their types.

package httpapi

import (
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	defaultPage = 500
	maxPage     = 5000
	// maxPageBytes limits the payloads of a page in the form in which they are sent. A page may
	// therefore have fewer items than its limit.
	maxPageBytes = 8 << 20
)

func (s *Server) listMementos(w http.ResponseWriter, r *http.Request) error {
	q, err := parseListOptions(r.URL.Query())
	if err != nil {
		return err
	}
	reading, err := s.read(r, q.readOptions)
	if err != nil {
		return err
	}
	if q.revision != 0 {
		return s.listPast(w, r, &q, &reading)
	}
	if id := q.after.view; id.at != 0 {
		view, ok := s.listings.find(id, reading.View)
		switch {
		case !ok:
			return fmt.Errorf("%w: this listing has expired: start again from the first page", wire.ErrGone)
		case view == nil: // the view became too costly to keep
			return s.listPast(w, r, &q, &reading)
		}
		reading.View = view
	}
	page := q.page(reading.View.Revision(), reading.View.From)
	if err := s.pinView(r.Context(), w, page.size(), reading.View); err != nil {
		return err
	}
	if page.more {
		s.listings.save(reading.View)
		page.next = cursor{view: viewIDOf(reading.View), last: page.last()}.encode()
	}
	s.setReadHeaders(w.Header(), &reading)
	return page.write(w)
}

// getTypes lists the types that have mementos. It looks up one memento per type: mementos of a
// type are neighbors in the order of names, and "0" is the character after "/".
func (s *Server) getTypes(w http.ResponseWriter, r *http.Request) error {
	reading, err := s.read(r, readOptions{})
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
	slices.Sort(answer.Types) // by key, "a-b/" is before "a/"
	s.setReadHeaders(w.Header(), &reading)
	return reply(w, http.StatusOK, answer)
}

// listPast answers with a page of a past revision. Any node can read its next page for as long
// as the store has the revision. For a listing whose view is no longer kept only this node can.
func (s *Server) listPast(w http.ResponseWriter, r *http.Request, q *listOptions, reading *coordinator.Reading) error {
	at := max(q.revision, q.after.view.at)
	// No other request shares this memory, and how much it takes is known only after the read.
	if err := deadlineWriterOf(w).reserve(r.Context(), s.answers, maxPageBytes+pastPartSize); err != nil {
		return err
	}
	past := s.pastReader(r.Context(), at)
	page := q.page(at, past.from)
	if past.err != nil {
		return past.err
	}
	if page.more {
		page.next = cursor{past: q.revision, view: q.after.view, last: page.last()}.encode()
	}
	s.setPastHeaders(w.Header(), reading, at)
	return page.write(w)
}

// listOptions are the query parameters of a listing.
type listOptions struct {
	readOptions
	typ, prefix string
	limit       int
	values      bool
	after       cursor
}

func parseListOptions(v url.Values) (listOptions, error) {
	q := listOptions{typ: v.Get("type"), prefix: v.Get("prefix"), limit: defaultPage}
	var err error
	if q.readOptions, err = parseReadOptions(v); err != nil {
		return q, err
	}
	if q.values, err = boolParam(v, "values"); err != nil {
		return q, err
	}
	if q.typ != "" {
		if err := checkType(q.typ); err != nil {
			return q, err
		}
	}
	if limit := v.Get("limit"); limit != "" {
		n, ok := parseNumber(limit)
		if !ok || n < 1 || n > maxPage {
			return q, badRequest("limit %.50q: use 1 to %d", limit, maxPage)
		}
		q.limit = int(n)
	}
	if after := v.Get("after"); after != "" {
		if q.after, err = decodeCursor(after); err != nil {
			return q, err
		}
		if q.revision != 0 && q.revision != q.after.past {
			return q, badRequest("after belongs to a listing of another revision than %d", q.revision)
		}
		// The listing met the other options when it began.
		q.readOptions = readOptions{revision: q.after.past}
	}
	return q, nil
}

// listPage is one page of a listing. It is written as a [wire.List] without being encoded as a
// whole.
type listPage struct {
	revision rebind.Revision
	items    []wire.Memento
	payloads []*rebind.Memento // of the items; nil if they were not asked for
	more     bool
	next     string
}

// itemSize is about how much memory an item takes without its payload.
const itemSize = 256

// page fills one page with mementos that from yields in order.
func (q *listOptions) page(at rebind.Revision, from func(rebind.Name) iter.Seq[*rebind.Memento]) listPage {
	p := listPage{revision: at}
	sent := 0
	for m := range q.matching(from) {
		if q.values {
			sent += base64.StdEncoding.EncodedLen(len(m.Payload))
		}
		if n := len(p.items); n == q.limit || n > 0 && sent > maxPageBytes {
			p.more = true
			break
		}
		p.items = append(p.items, itemOf(m))
		if q.values {
			p.payloads = append(p.payloads, m)
		}
	}
	return p
}

// size is about how much memory the page takes. Its payloads belong to the view.
func (p *listPage) size() int64 { return int64(len(p.items)) * itemSize }

// last names the last item of a page that is not empty.
func (p *listPage) last() rebind.Name {
	last := &p.items[len(p.items)-1]
	return rebind.Name(last.Type + "/" + last.ID)
}

// write answers with the page. If the client does not take it all the connection is closed, so
// that the client cannot take a part for the whole.
func (p *listPage) write(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	to := newObjectWriter(w)
	to.print(`{"revision":%d,"items":[`, p.revision)
	for i := range p.items {
		if i > 0 {
			to.print(",")
		}
		var payload *rebind.Memento
		if p.payloads != nil {
			payload = p.payloads[i]
		}
		to.object(&p.items[i], payload)
	}
	to.print("]")
	if p.next != "" {
		to.print(`,"next":%q`, p.next)
	}
	to.print("}\n")
	return abandoned(to.flush())
}

// matching yields the mementos that the query selects, from the cursor on.
func (q *listOptions) matching(from func(rebind.Name) iter.Seq[*rebind.Memento]) iter.Seq[*rebind.Memento] {
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
				return // names are in order: nothing more can match
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

// cursor is the position after a page. In text form it is the page's "next".
type cursor struct {
	view viewID          // set for a listing whose view this node keeps
	past rebind.Revision // set for a listing that is read from the store
	last rebind.Name
}

const pastPrefix = "past "

func (c cursor) encode() string {
	text := fmt.Sprintf("%d/%d %s", c.view.life, c.view.at, c.last)
	if c.past != 0 {
		text = fmt.Sprintf("%s%d %s", pastPrefix, c.past, c.last)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func decodeCursor(token string) (cursor, error) {
	var c cursor
	text, err := base64.RawURLEncoding.DecodeString(token)
	rest, old := strings.CutPrefix(string(text), pastPrefix)
	at := &c.view.at
	switch {
	case err != nil:
	case old:
		at = &c.past
		_, err = fmt.Sscanf(rest, "%d %s", at, &c.last)
	default:
		_, err = fmt.Sscanf(rest, "%d/%d %s", &c.view.life, at, &c.last)
	}
	if err == nil {
		err = c.last.Check()
	}
	if err != nil || *at < 1 {
		return cursor{}, badRequest("after %.50q is not the next of a listing", token)
	}
	return c, nil
}
