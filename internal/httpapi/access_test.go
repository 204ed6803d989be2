// This file tests who may call what.

package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// tokens are the tokens that a node knows. The token of each role is the role's name.
type tokens map[string]credentials.TokenOwner

// Holder implements [httpapi.Tokens].
func (t tokens) Holder(token string) (credentials.TokenOwner, bool) {
	h, known := t[token]
	return h, known
}

var everyRole = tokens{
	"viewer":   {Name: "vera", Role: credentials.Viewer},
	"operator": {Name: "otto", Role: credentials.Operator},
	"admin":    {Name: "ada", Role: credentials.Admin},
}

// bearer returns the header with a token.
func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// accessAPI is an API with no node behind it. A request that is allowed panics, and is answered
// with 500.
type accessAPI struct {
	t   *testing.T
	api *httpapi.Server
}

// bareNode is a node that has only an id and an address.
type bareNode struct{ httpapi.Node }

// ID implements [httpapi.Node].
func (bareNode) ID() string { return "a" }

// Status implements [httpapi.Node].
func (bareNode) Status() coordinator.Status {
	return coordinator.Status{Record: driver.Record{ID: "a", URI: "http://node-a.example:7400"}}
}

func newAccessAPI(t *testing.T, access httpapi.Access) *accessAPI {
	api := httpapi.New(httpapi.Config{Node: bareNode{}, MaxPayload: maxPayload, Access: access, Names: []string{"node-a"}})
	t.Cleanup(api.Close)
	return &accessAPI{t, api}
}

// ask sends a request as if from an address.
func (d *accessAPI) ask(change func(*http.Request), method, target, body string, header ...string) *answer {
	d.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.RemoteAddr = "127.0.0.1:5000"
	req.Host = "127.0.0.1:7400"
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	if change != nil {
		change(req)
	}
	rec := httptest.NewRecorder()
	d.api.ServeHTTP(rec, req)
	a := &answer{t: d.t, what: method + " " + target, status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	c, err := theContract()
	if err != nil {
		d.t.Fatal(err)
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		if err := c.check(req, []byte(body), a); err != nil {
			d.t.Errorf("%s: answer %d is not as documented: %v", a.what, a.status, err)
		}
	}
	return a
}

// denied reports whether an answer refuses access.
func (a *answer) denied() bool {
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}

// requests has one request for each route. A request whose required role depends on more than
// the route asks for the most.
func requests(api *httpapi.Server) map[string][3]string {
	all := make(map[string][3]string)
	for _, pattern := range api.Patterns() {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{type}", "entity", "{role}", "master", "{id}", "x").Replace(path)
		all[pattern] = [3]string{method, path, ""}
	}
	return all
}

// Promise: a route is open to those roles that the document names for it.
func TestAccess_EveryRouteByRole(t *testing.T) {
	d := newAccessAPI(t, httpapi.Access{Tokens: everyRole})
	roles := []string{"", "viewer", "operator", "admin"}
	doc := readTheContract(t).doc
	for pattern, r := range requests(d.api) {
		_, path, _ := strings.Cut(pattern, " ")
		op := doc.Paths.Value(path).GetOperation(r[0])
		open := op.Security != nil && len(*op.Security) == 0
		role, _ := op.Extensions["x-role"].(string)
		if open == (role != "") {
			t.Errorf("%s: the document says that it is open: %t, and of role %q", pattern, open, role)
		}
		may := open
		for _, has := range roles {
			may = may || has == role && role != ""
			header := bearer(has)
			if has == "" {
				header = nil
			}
			a := d.ask(nil, r[0], r[1], r[2], header...)
			switch {
			case a.denied() == may:
				t.Errorf("%s with role %q: %d, the document says role %q", pattern, has, a.status, role)
			case has == "" && !may:
				a.refused(http.StatusUnauthorized, wire.KindNoIdentity).has("WWW-Authenticate", `Bearer realm="coordinator"`)
			case !may:
				a.refused(http.StatusForbidden, wire.KindForbidden).has("WWW-Authenticate", "")
			}
		}
	}
}

// Where the role depends on more than the route: viewers may make dry runs, and only admins may
// delete by an import.
func TestAccess_WhatARequestDoesCounts(t *testing.T) {
	d := newAccessAPI(t, httpapi.Access{Tokens: everyRole})
	for _, c := range []struct {
		target, body string
		least        credentials.Role
	}{
		{wire.PathHandover, `{"dry_run":true}`, credentials.Viewer},
		{wire.PathHandover, `{"to":"b","dry_run":true}`, credentials.Viewer},
		{wire.PathHandover, `{"dry_run":false}`, credentials.Operator},
		{wire.PathHandover, `{"to":"b"}`, credentials.Operator},
		{wire.PathImport, "", credentials.Operator},
		{wire.PathImport + "?dry_run=true", "", credentials.Operator},
		{wire.PathImport + "?dry_run=true&replace=true", "", credentials.Operator},
		{wire.PathImport + "?replace=true", "", credentials.Admin},
		{wire.PathImport + "?replace=true&dry_run=false", "", credentials.Admin},
	} {
		for token, holder := range everyRole {
			a := d.ask(nil, http.MethodPost, c.target, c.body, bearer(token)...)
			if may := holder.Role >= c.least; a.denied() == may {
				t.Errorf("%s %s with role %s: %d, want at least %s", c.target, c.body, token, a.status, c.least)
			}
		}
	}
}

func TestAccess_TokensThatAreNone(t *testing.T) {
	d := newAccessAPI(t, httpapi.Access{Tokens: everyRole})
	for name, header := range map[string][]string{
		"none":               nil,
		"an unknown one":     bearer("root"),
		"an empty one":       bearer(""),
		"another scheme":     {"Authorization", "Basic admin"},
		"no scheme":          {"Authorization", "admin"},
		"two":                append(bearer("admin"), bearer("viewer")...),
		"in another header":  {"X-Token", "admin"},
		"one and a half":     bearer("admin x"),
		"by another's power": {"Coordinator-Forward", "never"},
	} {
		d.ask(nil, http.MethodGet, wire.PathNode, "", header...).refused(http.StatusUnauthorized, wire.KindNoIdentity)
		if a := d.ask(nil, http.MethodGet, wire.PathNode+"?token=admin", "", header...); a.status != http.StatusUnauthorized {
			t.Errorf("%s, and one in the query: %d", name, a.status)
		}
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		if a := d.ask(nil, http.MethodGet, wire.PathNode, "", "Authorization", scheme+"viewer"); a.denied() {
			t.Errorf("%q: %d", scheme, a.status)
		}
	}
}

// Promise: without credentials anyone who names this node may read, and only this machine may
// change anything. A web page that has bound its own name to the node's address cannot read.
// Health is open to all.
func TestAccess_WithoutCredentials(t *testing.T) {
	d := newAccessAPI(t, httpapi.Access{})
	trusting := newAccessAPI(t, httpapi.Access{NoLoopback: true})
	from := func(address string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = address }
	}
	to := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	with := func(key string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(key, "203.0.113.7") }
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		local  bool
		astray bool // addressed to another host
	}{
		"loopback":                        {from("127.0.0.1:1"), true, false},
		"another loopback":                {from("127.8.9.10:1"), true, false},
		"loopback in version 6":           {from("[::1]:1"), true, false},
		"loopback of 4 within 6":          {from("[::ffff:127.0.0.1]:1"), true, false},
		"another machine":                 {from("192.0.2.1:1"), false, false},
		"another machine, version 6":      {from("[2001:db8::1]:1"), false, false},
		"an address that begins alike":    {from("127.0.0.1.example:1"), false, false},
		"no address":                      {from(""), false, false},
		"a socket's name":                 {from("@"), false, false},
		"through a proxy":                 {with("X-Forwarded-For"), false, false},
		"through a proxy of the standard": {with("Forwarded"), false, false},
		"to localhost":                    {to("localhost:7400"), true, false},
		"to the address":                  {to("[::1]:7400"), true, false},
		"to what the node advertises":     {to("Node-A.example"), true, false},
		"through a proxy, by its name":    {with("Via"), false, false},
		"through a proxy, by its address": {with("X-Real-IP"), false, false},
		"through a proxy of no name":      {func(r *http.Request) { r.Header["X-Forwarded-For"] = []string{""} }, false, false},
		"to localhost as a whole name":    {to("LOCALHOST.:7400"), true, false},
		"to what the node is called":      {to("Node-A:7400"), true, false},
		"to a name of somebody's own":     {to("rebound.example:7400"), false, true},
		"to a name that begins alike":     {to("127.0.0.1.example:7400"), false, true},
		"to a name that ends alike":       {to("evil.node-a.example"), false, true},
		"to nobody":                       {to(""), false, true},
	} {
		for pattern, r := range requests(d.api) {
			a := d.ask(c.change, r[0], r[1], `{"to":"b"}`)
			open := strings.HasPrefix(pattern, "GET "+wire.PathRole) || pattern == "GET "+wire.PathLive || pattern == "GET "+wire.PathReady
			reads := r[0] == http.MethodGet && !c.astray
			if a.denied() == (open || reads || c.local) {
				t.Errorf("%s, %s: %d %s", name, pattern, a.status, a.body)
			}
			if a := trusting.ask(c.change, r[0], r[1], `{"to":"b"}`); a.denied() == (open || reads) {
				t.Errorf("%s, %s without trust in loopback: %d %s", name, pattern, a.status, a.body)
			}
		}
		if a := d.ask(c.change, http.MethodPost, wire.PathHandover, `{"dry_run":true}`); a.denied() != c.astray {
			t.Errorf("%s, dry run of a handover: %d", name, a.status)
		}
	}
}

// Promise: if certificates are required, everything but health needs one.
func TestAccess_Certificates(t *testing.T) {
	without := func(r *http.Request) { r.TLS = new(tls.ConnectionState) }
	remote := func(r *http.Request) {
		r.RemoteAddr = "192.0.2.1:1"
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
	}
	alone := newAccessAPI(t, httpapi.Access{Certificates: true})
	both := newAccessAPI(t, httpapi.Access{Certificates: true, Tokens: everyRole})
	for pattern, r := range requests(alone.api) {
		open := strings.HasPrefix(pattern, "GET "+wire.PathRole) || pattern == "GET "+wire.PathLive || pattern == "GET "+wire.PathReady
		for name, change := range map[string]func(*http.Request){"without one": without, "without TLS": nil} {
			for _, d := range []*accessAPI{alone, both} {
				if a := d.ask(change, r[0], r[1], "", bearer("admin")...); a.denied() == open {
					t.Errorf("%s, %s: %d", name, pattern, a.status)
				} else if !open {
					a.refused(http.StatusForbidden, wire.KindForbidden)
				}
			}
		}
		if a := alone.ask(remote, r[0], r[1], ""); a.denied() {
			t.Errorf("with one, %s: %d", pattern, a.status)
		}
		if a := both.ask(remote, r[0], r[1], "", bearer("admin")...); a.denied() {
			t.Errorf("with one and a token, %s: %d", pattern, a.status)
		}
		if a := both.ask(remote, r[0], r[1], ""); a.denied() == open {
			t.Errorf("with one and no token, %s: %d", pattern, a.status)
		}
	}
}

// Promise: a page of another site cannot change anything through a visitor's browser, whatever
// credentials the browser has.
func TestAccess_PagesOfOtherSites(t *testing.T) {
	for _, access := range []httpapi.Access{{}, {Tokens: everyRole}} {
		d := newAccessAPI(t, access)
		for pattern, r := range requests(d.api) {
			for _, origin := range [][]string{
				{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"},
			} {
				a := d.ask(nil, r[0], r[1], "", append(bearer("admin"), origin...)...)
				if reads := r[0] == http.MethodGet; a.denied() == reads {
					t.Errorf("%s with %v: %d", pattern, origin, a.status)
				}
			}
			for _, origin := range [][]string{
				{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://127.0.0.1:7400"},
			} {
				if a := d.ask(nil, r[0], r[1], "", append(bearer("admin"), origin...)...); a.denied() {
					t.Errorf("%s with %v: %d", pattern, origin, a.status)
				}
			}
		}
	}
}

// Promise: a forwarded request has its caller's rights, on both nodes.
func TestAccess_ForwardedIsTheCallers(t *testing.T) {
	p := newPlane(t)
	p.secure = func(id string, cfg *httpapi.Config) *tls.Config {
		known := tokens{"of " + id: {Name: "neighbour", Role: credentials.Admin}}
		for token, holder := range everyRole {
			known[token] = holder
		}
		cfg.Access.Tokens = known
		return nil
	}
	p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1", bearer("operator")...).want(http.StatusCreated).has(wire.HeaderNode, "a")
	b.put(t, "entity/x", "2", bearer("viewer")...).refused(http.StatusForbidden, wire.KindForbidden)
	b.put(t, "entity/x", "2").refused(http.StatusUnauthorized, wire.KindNoIdentity)
	// b knows this token and a does not. a decides, and its refusal is passed on by b.
	b.put(t, "entity/x", "2", bearer("of b")...).refused(http.StatusUnauthorized, wire.KindNoIdentity).
		has("WWW-Authenticate", `Bearer realm="coordinator"`)
	b.get(t, at("entity/x")).refused(http.StatusUnauthorized, wire.KindNoIdentity)
	b.do(t, http.MethodGet, at("entity/x"), nil, bearer("viewer")...).want(http.StatusOK).holds("1")
	// A page from b itself.
	for _, origin := range [][]string{{"Origin", b.url}, {"Sec-Fetch-Site", "same-origin", "Origin", b.url}} {
		b.put(t, "entity/x", "3", append(bearer("operator"), origin...)...).want(http.StatusOK)
	}
	b.send(t, http.MethodPost, wire.PathHandover, `{"dry_run":true}`, bearer("viewer")...).want(http.StatusOK)
	b.send(t, http.MethodPost, wire.PathHandover, `{"to":"b"}`, bearer("viewer")...).refused(http.StatusForbidden, wire.KindForbidden)
	b.send(t, http.MethodPost, wire.PathHandover, `{"to":"b"}`, bearer("operator")...).want(http.StatusOK)
}
