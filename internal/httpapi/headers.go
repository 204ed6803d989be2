// This file checks the request headers that the API reads, and selects those that are
// forwarded.

package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// knownHeader is a request header that the API reads.
type knownHeader struct {
	name string
	// routes lists prefixes of the routes that read it; empty means all routes.
	routes []string
	// forwarded says whether a forwarder passes it on to the master.
	forwarded bool
}

const (
	routePutMemento    = "PUT " + wire.PathMementos + "/{type}/{id}"
	routeDeleteMemento = "DELETE " + wire.PathMementos + "/{type}/{id}"
	routeGet           = "GET /"
)

// knownHeaders lists all of them in canonical form. Authorization is missing: a duplicate or
// empty one is answered with 401 and not with 400.
var knownHeaders = []knownHeader{
	{name: "Content-Type", forwarded: true},
	{name: "Content-Encoding"},
	{name: "Content-Range"},
	{name: "If-Match", routes: []string{routePutMemento, routeDeleteMemento, routeGet}, forwarded: true},
	{name: "If-None-Match", routes: []string{routePutMemento, routeDeleteMemento, routeGet}, forwarded: true},
	{name: wire.HeaderKey, routes: []string{routePutMemento}, forwarded: true},
	{name: wire.HeaderParent, routes: []string{routePutMemento}, forwarded: true},
	{name: wire.HeaderSchema, routes: []string{routePutMemento}, forwarded: true},
	{name: wire.HeaderForward},
	{name: wire.HeaderDeadline},
	{name: http.CanonicalHeaderKey(wire.HeaderLastEvent)},
	{name: "Origin"},
	{name: "Sec-Fetch-Site"},
}

// checkHeaders refuses a known header that is empty, duplicate, or without effect on the route.
// The client expects an effect that it would not get.
func checkHeaders(r *http.Request, pattern string) error {
	for name, given := range r.Header {
		i := slices.IndexFunc(knownHeaders, func(h knownHeader) bool { return h.name == name })
		if i < 0 {
			continue
		}
		routes := knownHeaders[i].routes
		switch {
		case len(given) != 1 || given[0] == "":
			return badRequest("send %s once, with a value", name)
		case routes != nil && !slices.ContainsFunc(routes, func(route string) bool { return strings.HasPrefix(pattern, route) }):
			return badRequest("%s would have no effect here: it goes with %s", name, strings.Join(routes, ", "))
		}
	}
	if v := r.Header.Get(wire.HeaderForward); v != "" && v != wire.ForwardNever {
		return badRequest("%s %.50q: send %s, or leave it out", wire.HeaderForward, v, wire.ForwardNever)
	}
	if _, err := requestDeadline(r); err != nil {
		return err
	}
	return checkRepresentation(r)
}

// checkRepresentation refuses a body that is only a range or is compressed: it would be stored
// as it is.
func checkRepresentation(r *http.Request) error {
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		return nil
	}
	if part := r.Header.Get("Content-Range"); part != "" {
		return badRequest("Content-Range %.50q: a part cannot be stored: send the whole body without this header", part)
	}
	if packed := r.Header.Get("Content-Encoding"); packed != "" {
		return fmt.Errorf("%w: Content-Encoding %.50q: send the body as it is, without this header", wire.ErrMediaType, packed)
	}
	return nil
}

// requestDeadline returns until when the caller waits, and zero if it does not say.
func requestDeadline(r *http.Request) (time.Time, error) {
	given := r.Header.Get(wire.HeaderDeadline)
	if given == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, given)
	if err != nil || at.IsZero() { // the zero time means no deadline, and no caller means it
		return time.Time{}, badRequest("%s %.50q: write it as 2006-01-02T15:04:05.999Z", wire.HeaderDeadline, given)
	}
	return at, nil
}

// forwardedHeader returns the headers with which a request is forwarded: those that were read
// here, and no others. It makes a new header, because a proxy drops every header that the
// client lists in Connection.
func forwardedHeader(r *http.Request, until time.Time) http.Header {
	out := http.Header{wire.HeaderForward: {wire.ForwardNever}}
	for _, h := range knownHeaders {
		if given, there := r.Header[h.name]; there && h.forwarded {
			out[h.name] = given
		}
	}
	for _, name := range []string{"Authorization", "Expect", "User-Agent", "Traceparent", "Tracestate", "Baggage"} {
		if given, there := r.Header[name]; there {
			out[name] = given
		}
	}
	if at, err := requestDeadline(r); err == nil && !at.IsZero() && (until.IsZero() || at.Before(until)) {
		until = at
	}
	if !until.IsZero() {
		out.Set(wire.HeaderDeadline, until.UTC().Format(time.RFC3339Nano))
	}
	return out
}
