package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// readHeader is a header that the API reads.
type readHeader struct {
	name string
	// only lists the beginnings of the routes that take it; none means that all do.
	only []string
	// goesOn says that a forwarder has to pass it on to the master.
	goesOn bool
}

const (
	putsMemento    = "PUT " + wire.PathMementos + "/{type}/{id}"
	deletesMemento = "DELETE " + wire.PathMementos + "/{type}/{id}"
	readsAnything  = "GET /"
)

// readHeaders are all of them, in canonical form. Authorization is not here: whoever does
// not show one token is not identified, and is told that.
var readHeaders = []readHeader{
	{name: "Content-Type", goesOn: true},
	{name: "Content-Encoding"},
	{name: "Content-Range"},
	{name: "If-Match", only: []string{putsMemento, deletesMemento, readsAnything}, goesOn: true},
	{name: "If-None-Match", only: []string{putsMemento, deletesMemento, readsAnything}, goesOn: true},
	{name: wire.HeaderKey, only: []string{putsMemento}, goesOn: true},
	{name: wire.HeaderParent, only: []string{putsMemento}, goesOn: true},
	{name: wire.HeaderSchema, only: []string{putsMemento}, goesOn: true},
	{name: wire.HeaderForward},
	{name: wire.HeaderDeadline},
	{name: http.CanonicalHeaderKey(wire.HeaderLastEvent)},
	{name: "Origin"},
	{name: "Sec-Fetch-Site"},
}

// checkHeaders refuses a header that the API reads and that is empty, there twice, or of
// no effect on the route: whoever sends one means something by it, and would not get it.
func checkHeaders(r *http.Request, pattern string) error {
	for name, given := range r.Header {
		i := slices.IndexFunc(readHeaders, func(h readHeader) bool { return h.name == name })
		if i < 0 {
			continue
		}
		only := readHeaders[i].only
		switch {
		case len(given) != 1 || given[0] == "":
			return badRequest("send %s once, with a value", name)
		case only != nil && !slices.ContainsFunc(only, func(route string) bool { return strings.HasPrefix(pattern, route) }):
			return badRequest("%s would have no effect here: it goes with %s", name, strings.Join(only, ", "))
		}
	}
	if v := r.Header.Get(wire.HeaderForward); v != "" && v != wire.ForwardNever {
		return badRequest("%s %.50q: send %s, or leave it out", wire.HeaderForward, v, wire.ForwardNever)
	}
	if _, err := deadlineOf(r); err != nil {
		return err
	}
	return checkRepresentation(r)
}

// checkRepresentation refuses a body that is a part of something, or packed: it would be
// taken for the whole, as it is.
func checkRepresentation(r *http.Request) error {
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		return nil
	}
	if part := r.Header.Get("Content-Range"); part != "" {
		return badRequest("Content-Range %.50q: a part cannot be stored, send the whole without it", part)
	}
	if packed := r.Header.Get("Content-Encoding"); packed != "" {
		return fmt.Errorf("%w: Content-Encoding %.50q: send the body as it is, without this header", wire.ErrMediaType, packed)
	}
	return nil
}

// deadlineOf reads until when the caller waits; zero if it does not say.
func deadlineOf(r *http.Request) (time.Time, error) {
	given := r.Header.Get(wire.HeaderDeadline)
	if given == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, given)
	if err != nil || at.IsZero() { // which stands for none, and nobody means it
		return time.Time{}, badRequest("%s %.50q: write it as 2006-01-02T15:04:05.999Z", wire.HeaderDeadline, given)
	}
	return at, nil
}

// passedOn is the header of a request with which another node carries it out: what was
// read of it here, and nothing else. It is made anew, since a client can name any header
// in Connection, and a proxy then drops it.
func passedOn(r *http.Request, until time.Time) http.Header {
	out := http.Header{wire.HeaderForward: {wire.ForwardNever}}
	for _, h := range readHeaders {
		if given, there := r.Header[h.name]; there && h.goesOn {
			out[h.name] = given
		}
	}
	for _, name := range []string{"Authorization", "Expect", "User-Agent", "Traceparent", "Tracestate", "Baggage"} {
		if given, there := r.Header[name]; there {
			out[name] = given
		}
	}
	if at, err := deadlineOf(r); err == nil && !at.IsZero() && (until.IsZero() || at.Before(until)) {
		until = at
	}
	if !until.IsZero() {
		out.Set(wire.HeaderDeadline, until.UTC().Format(time.RFC3339Nano))
	}
	return out
}
