// This file tests that invalid queries, headers and bodies are refused by every route.

package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// concrete replaces the placeholders of a route's path.
func concrete(pattern string) (method, path string) {
	method, path, _ = strings.Cut(strings.NewReplacer("{type}/{id}", "entity/x", "{role}", "master", "{id}", "gone").Replace(pattern), " ")
	return method, path
}

// Promise: an empty or duplicate parameter, in whatever encoding, is refused by every route
// that takes it. Only verbose may be empty.
func TestValidation_EveryParameterOfEveryRoute(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	for _, pattern := range a.api.Patterns() {
		method, path := concrete(pattern)
		for _, key := range httpapi.Parameters(pattern) {
			escaped := fmt.Sprintf("%%%02x%s", key[0], key[1:])
			for _, query := range []string{key, key + "=", escaped + "=", key + "=1&" + key + "=1", key + "=1&" + escaped + "=1", key + "=&" + key + "=1"} {
				if key == "verbose" && !strings.Contains(query, "&") {
					continue
				}
				a.send(t, method, path+"?"+query, "").refused(http.StatusBadRequest, wire.KindBadRequest)
			}
		}
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
}

func TestValidation_ValuesOfParameters(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	numbers := []string{"%2B1", "-1", "01", "1.0", "1e3", "0x1", "%201", "1%20", "1_0", "9223372036854775808", "one"}
	truths := []string{"1", "0", "yes", "True", "TRUE", "t", "maybe", "%20true", "null"}
	times := []string{"1", "-1s", "1x", "s", "1%20s", "9999999999h"}
	for target, values := range map[string][]string{
		wire.PathMementos + "?limit=":         append(numbers, "0", "5001"),
		wire.PathMementos + "?values=":        truths,
		wire.PathMementos + "?consistent=":    truths,
		wire.PathMementos + "?min_revision=":  numbers,
		wire.PathMementos + "?revision=":      append(numbers, "0"),
		wire.PathMementos + "?max_staleness=": times,
		at("entity/x") + "?consistent=":       truths,
		at("entity/x") + "?min_revision=":     numbers,
		at("entity/x") + "?revision=":         append(numbers, "0"),
		at("entity/x") + "?max_staleness=":    times,
		wire.PathWatch + "?from_revision=":    numbers,
		wire.PathMementos + "?type=":          {"A", "..", "a%2Fb", "%00"},
		wire.PathWatch + "?type=":             {"A", "..", "a%2Fb", "%00"},
	} {
		for _, v := range values {
			a.get(t, target+v).refused(http.StatusBadRequest, wire.KindBadRequest)
		}
	}
}

// Promise: no import happens unless the request asks for it unambiguously.
func TestValidation_ImportIsAskedForInWords(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/old", "1").want(http.StatusCreated)
	archive := a.get(t, wire.PathExport).want(http.StatusOK).body
	a.put(t, "entity/new", "2").want(http.StatusCreated)
	before := a.inventory(t)
	for _, query := range []string{
		"dry_run&replace=true", "dry_run=&replace=true", "replace=true&dry_run=1", "replace=true&dry_run=True", "replace=true&dry_run=yes",
		"replace=true&dry_run=true&dry_run=false", "replace=true&dry_run=false&dry_run=true", "replace=true;dry_run=true", "replace=true&dry_run=%zz",
		"replace=true&Dry_run=true", "replace=true&dry-run=true", "replace=true&dryrun=true", "replace=1", "replace", "replace=",
	} {
		a.do(t, http.MethodPost, wire.PathImport+"?"+query, archive, "Content-Type", wire.Archive).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
		t.Errorf("mementos (-before +after):\n%s", diff)
	}
}

// Promise: a known header that is empty, duplicate or without effect is refused by every route
// that changes something, and nothing is changed.
func TestValidation_EveryHeaderOfEveryRoute(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	good := map[string]string{
		"Content-Type": "application/json", "If-Match": `"5"`, "If-None-Match": "*", wire.HeaderKey: "k", wire.HeaderParent: "a/b",
		wire.HeaderSchema: "1", wire.HeaderForward: "never", wire.HeaderDeadline: "2999-01-01T00:00:00Z", "Last-Event-ID": "1",
		"Origin": a.url, "Sec-Fetch-Site": "same-origin", "Content-Encoding": "gzip", "Content-Range": "bytes 0-0/1",
	}
	for _, pattern := range a.api.Patterns() {
		method, path := concrete(pattern)
		for name, value := range good {
			for _, given := range [][]string{{name, ""}, {name, value, name, value}, {name, "", name, value}} {
				a.do(t, method, path, nil, given...).refused(http.StatusBadRequest, wire.KindBadRequest)
			}
		}
	}
	only := map[string][]string{
		"If-Match":        {"PUT /v1/mementos/{type}/{id}", "DELETE /v1/mementos/{type}/{id}"},
		"If-None-Match":   {"PUT /v1/mementos/{type}/{id}", "DELETE /v1/mementos/{type}/{id}"},
		wire.HeaderParent: {"PUT /v1/mementos/{type}/{id}"},
		wire.HeaderSchema: {"PUT /v1/mementos/{type}/{id}"},
		wire.HeaderKey:    {"PUT /v1/mementos/{type}/{id}"},
	}
	for _, pattern := range a.api.Patterns() {
		method, path := concrete(pattern)
		for name, routes := range only {
			if method != http.MethodGet && !strings.Contains(fmt.Sprint(routes), pattern) {
				a.do(t, method, path, nil, name, good[name]).refused(http.StatusBadRequest, wire.KindBadRequest)
			}
		}
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
}

func TestValidation_ValuesOfHeaders(t *testing.T) {
	a := newPlane(t).lead("a")
	rev := a.put(t, "entity/x", "1").want(http.StatusCreated).revision()
	for name, values := range map[string][]string{
		"If-Match": {
			fmt.Sprint(rev), fmt.Sprintf(`W/"%d"`, rev), fmt.Sprintf(`"%d","1"`, rev), fmt.Sprintf(`"0%d"`, rev), fmt.Sprintf(`"+%d"`, rev),
			fmt.Sprintf(`"%d`, rev), `""`, `"*"`, "* ,*", `"0"`, `"-1"`, `"1e3"`, `"9223372036854775808"`,
		},
		"If-None-Match":     {fmt.Sprintf(`"%d"`, rev), `"*"`, "*, *", "**"},
		wire.HeaderSchema:   {"-1", "+1", "01", "1.0", "x", "9223372036854775808"},
		wire.HeaderParent:   {"x", "/", "a/", "a/b/c", "A/b"},
		wire.HeaderForward:  {"Never", "always", "never, never", "1"},
		wire.HeaderDeadline: {"now", "2026-01-01", "2026-01-01 00:00:00Z", "1767225600", "30s", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z"},
		wire.HeaderKey:      {"a b", strings.Repeat("k", 129)},
		"Content-Type":      {"json", "a/b/c;", "text/plain; x"},
		"Content-Range":     {"bytes 0-0/2", "bytes */2", "x"},
	} {
		for _, v := range values {
			a.put(t, "entity/x", "2", name, v).refused(http.StatusBadRequest, wire.KindBadRequest)
		}
	}
	a.put(t, "entity/x", "2", "If-Match", "*", "If-None-Match", "*").refused(http.StatusBadRequest, wire.KindBadRequest)
	for _, coding := range []string{"gzip", "identity", "br, gzip"} {
		a.put(t, "entity/x", "2", "Content-Encoding", coding).refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
		a.send(t, http.MethodPost, wire.PathBatch, "{}", "Content-Encoding", coding).refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
		a.do(t, http.MethodPost, wire.PathImport, nil, "Content-Encoding", coding).refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
	}
	a.do(t, http.MethodPost, wire.PathImport, nil, "Content-Range", "bytes 1-2/3").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1").has("ETag", fmt.Sprintf("%q", fmt.Sprint(rev)))
	a.do(t, http.MethodGet, wire.PathWatch+"?from_revision=x", nil, "Last-Event-ID", "1").refused(http.StatusBadRequest, wire.KindBadRequest)
	for _, v := range []string{"x", "-1", "+1", "01", "1.0"} {
		a.do(t, http.MethodGet, wire.PathWatch, nil, "Last-Event-ID", v).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
}

// Promise: on every route with a body, a body is either understood completely or refused.
func TestValidation_Bodies(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	before := a.inventory(t)
	put := func(fields string) string { return `{"ops":[{"op":"put","type":"entity","id":"x",` + fields + `}]}` }
	for route, bodies := range map[string][]string{
		"PUT " + wire.PathMode:     {`{"Mode":"standby"}`, `{"mode":"auto","mode":"standby"}`, `{"mode":null}`, `null`, `[]`, `"standby"`, `{"mode":"standby"} {}`, `{"mode":"standby","why":1}`, "\ufeff" + `{"mode":"standby"}`, "{\"mode\":\"standby\",\"\xff\":1}", ``, `{"mode":["standby"]}`, `{"mode":{"mode":"standby"}}`},
		"PUT " + wire.PathPriority: {`{"Priority":5}`, `{"priority":1,"priority":5}`, `{"priority":null}`, `{"priority":5.0}`, `{"priority":5e0}`, `{"priority":"5"}`, `{"priority":9223372036854775808}`, `{"priority":1,"priority":null}`},
		"PUT " + wire.PathLogLevel: {`{"LEVEL":"debug"}`, `{"level":"info","level":"debug"}`, `{"level":null}`, `{"level":""}`},
		"POST " + wire.PathHandover: {
			`{"Dry_Run":true}`, `{"to":"b","DRY_RUN":true}`, `{"dry_run":true,"dry_run":false}`, `{"to":null}`, `{"dry_run":null}`, `{"to":"b","to":""}`, `{"dry_run":1}`, `{"dry_run":"true"}`, `null`,
			`{"to":"b","dryrun":true}`, `{"to":"b","dry_run ":true}`, `{"to":"b","dry\u005frun":true,"dry_run":false}`,
		},
		"POST " + wire.PathPause:  {`{"For_Ms":1}`, `{"for_ms":1,"for_ms":2}`, `{"for_ms":null}`, `null`, `{"for_ms":-1}`, `{"for_ms":1.5}`, `{"for_ms":9223372036854775807}`, `{"for_ms":31536000001}`},
		"POST " + wire.PathResume: {`{"x":1}`, `null`, `[]`, `{} {}`},
		"POST " + wire.PathBatch: {
			`null`, `{"ops":null}`, `{"ops":[null]}`, `{"Ops":[]}`, `{"ops":[]}`, put(`"data":2,"data":3`), put(`"Data":2`), put(`"data":2,"if_revision":null`), put(`"data":2,"parent":null`),
			put(`"data":2,"if_revision":-1`), put(`"data":2,"if_revision":1.5`), put(`"data":2,"if_revision":1e3`), put(`"data":2,"if_Revision":1`), put(`"data":2,"IF_REVISION":1`),
			put(`"data":2,"if_revision":9223372036854775808`), put(`"data_base64":null`), put(`"data":2,"data_base64":null`), put(`"data":2,"schema":null`), put(`"data":2,"op":"delete"`),
			put(`"data":2,"type":"entity"`), put(`"data":2`) + put(`"data":3`), put(`"data":2`) + "x", `{"ops":[],` + put(`"data":2`)[1:],
		},
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, body := range bodies {
			for _, n := range []*peer{a, b} {
				n.send(t, method, path, body).refused(http.StatusBadRequest, wire.KindBadRequest)
			}
		}
		a.do(t, method, path, []byte("{}"), "Content-Type", "text/plain").refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
	}
	a.do(t, http.MethodDelete, wire.PathLeft+"/b", []byte("x")).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	a.do(t, http.MethodDelete, at("entity/x"), []byte("x")).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
		t.Errorf("mementos (-before +after):\n%s", diff)
	}
	if st := b.Status(); st.Mode != modes.HotStandby || st.Priority != 0 || a.CachedPlane().Pause != nil || a.Status().State != modes.StateMaster {
		t.Errorf("b is %s with priority %d, a is %s, paused: %v", st.Mode, st.Priority, a.Status().State, a.CachedPlane().Pause)
	}
	// A payload is the client's own, and so is a null in it.
	a.send(t, http.MethodPost, wire.PathBatch, put(`"data":{"a":null,"a":1,"A":[null]}`)).want(http.StatusOK)
	a.get(t, at("entity/x")).holds(`{"a":null,"a":1,"A":[null]}`)
	a.send(t, http.MethodPost, wire.PathBatch, put(`"data":null`)).want(http.StatusOK)
	a.get(t, at("entity/x")).holds("null")
}

// verbatim sends a request byte for byte, and returns the status.
func (n *peer) verbatim(t *testing.T, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// Promise: whatever a client lists in Connection, the master gets all conditions and every
// other header that the API reads.
func TestForward_ConnectionDropsNothing(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	rev := a.put(t, "entity/x", "1").want(http.StatusCreated).revision()
	write := func(method, name, connection, body string, header ...string) int {
		h := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\nContent-Length: %d\r\n", method, at(name), connection, len(body))
		for i := 0; i < len(header); i += 2 {
			h += header[i] + ": " + header[i+1] + "\r\n"
		}
		return b.verbatim(t, h+"\r\n"+body)
	}
	for _, connection := range []string{"If-Match", "close, if-match", "IF-MATCH, If-None-Match", "If-Match, Content-Length", "upgrade, If-Match", "keep-alive, If-Match, TE"} {
		for _, upgrade := range []string{"h2c", "websocket", "\xff"} {
			if got := write("PUT", "entity/x", connection, "2", "If-Match", `"1"`, "Upgrade", upgrade); got != http.StatusPreconditionFailed {
				t.Errorf("Connection %q: put with another revision: %d", connection, got)
			}
			if got := write("DELETE", "entity/x", connection, "", "If-Match", `"1"`, "Upgrade", upgrade); got != http.StatusPreconditionFailed {
				t.Errorf("Connection %q: delete of another revision: %d", connection, got)
			}
		}
	}
	if got := write("PUT", "entity/x", "If-None-Match", "2", "If-None-Match", "*"); got != http.StatusPreconditionFailed {
		t.Errorf("put of what is absent: %d", got)
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1").has("ETag", fmt.Sprintf("%q", fmt.Sprint(rev)))

	all := "Content-Type, Coordinator-Parent, Coordinator-Schema, Idempotency-Key, Coordinator-Forward, If-None-Match"
	for range 2 { // the second put repeats the first
		if got := write("PUT", "entity/y", all, "true", "Content-Type", "application/json", "Coordinator-Parent", "entity/x",
			"Coordinator-Schema", "3", "Idempotency-Key", "once", "If-None-Match", "*"); got != http.StatusCreated {
			t.Fatalf("put: %d", got)
		}
	}
	a.get(t, at("entity/y")).want(http.StatusOK).has("Content-Type", "application/json").has(wire.HeaderParent, "entity/x").has(wire.HeaderSchema, "3")
	if got := write("PUT", "entity/y", "Content-Type", "{half", "Content-Type", "application/json"); got != http.StatusBadRequest {
		t.Errorf("put of what is not JSON: %d", got)
	}
	if got := write("PUT", "entity/y", "Coordinator-Forward", "1", "Coordinator-Forward", "never"); got != http.StatusMisdirectedRequest {
		t.Errorf("put that is not to be forwarded: %d", got)
	}
	// X-HTTP-Method-Override is ignored.
	if got := write("PUT", "entity/y", "close", "1", "X-HTTP-Method-Override", "DELETE", "X-HTTP-Method", "DELETE"); got != http.StatusOK {
		t.Errorf("put: %d", got)
	}
	a.get(t, at("entity/y")).want(http.StatusOK).holds("1")
}

// Promise: a read honors conditions in the forms that caches send.
func TestGet_Conditions(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	tag := a.put(t, "entity/x", "payload", wire.HeaderParent, "a/b").want(http.StatusCreated).header.Get("ETag")
	rev := strings.Trim(tag, `"`)
	eventually(t, func() error {
		if a, err := b.try(t, http.MethodGet, at("entity/x"), nil); err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%v %v", a, err)
		}
		return nil
	})
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"If-None-Match", tag, 304},
		{"If-None-Match", "W/" + tag, 304},
		{"If-None-Match", "*", 304},
		{"If-None-Match", `"1", ` + tag, 304},
		{"If-None-Match", `"a,b" ,W/"x",` + tag, 304},
		{"If-None-Match", `"1"`, 200},
		{"If-None-Match", `"1","2"`, 200},
		{"If-None-Match", `""`, 200},
		{"If-None-Match", rev, 400},
		{"If-None-Match", `"1" "2"`, 400},
		{"If-None-Match", `"1`, 400},
		{"If-None-Match", `"1",`, 400},
		{"If-None-Match", `*, "1"`, 400},
		{"If-Match", tag, 200},
		{"If-Match", "*", 200},
		{"If-Match", `"1", ` + tag, 200},
		{"If-Match", `"1"`, 412},
		{"If-Match", "W/" + tag, 412},
		{"If-Match", rev, 400},
		{"Range", "bytes=0-0", 200},
		{"If-Modified-Since", "Fri, 01 Jan 2999 00:00:00 GMT", 200},
	} {
		for _, n := range []*peer{a, b} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, query := range []string{"", "?revision=" + rev} {
					got := n.do(t, method, at("entity/x")+query, nil, c.header, c.value).want(c.status)
					switch {
					case c.status == http.StatusNotModified:
						got.has("ETag", tag).holds("").has(wire.HeaderParent, "a/b").has(wire.HeaderNode, n.id)
					case c.status == http.StatusOK && method == http.MethodGet:
						got.has("ETag", tag).holds("payload")
					}
				}
			}
		}
	}
	a.do(t, http.MethodGet, at("entity/none"), nil, "If-None-Match", "*").refused(http.StatusNotFound, wire.KindNotFound)
	a.do(t, http.MethodGet, at("entity/none"), nil, "If-Match", "*").refused(http.StatusNotFound, wire.KindNotFound)
}

// Promise: a delete that expects the memento to be absent deletes nothing, and says so.
func TestDelete_OfWhatIsToBeAbsent(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	for _, n := range []*peer{a, b} {
		n.del(t, "entity/none", "If-None-Match", "*").refused(http.StatusNotFound, wire.KindNotFound)
		n.del(t, "entity/x", "If-None-Match", "*").refused(http.StatusPreconditionFailed, wire.KindPrecondition)
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
}

// Promise: every answer names the node that gave it or carried it out, once, and stops browsers
// from interpreting its content.
func TestServer_EveryAnswerNamesItsNode(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	check := func(got *answer, node string) {
		t.Helper()
		for name, want := range map[string]string{wire.HeaderNode: node, "Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"} {
			if given := got.header.Values(name); len(given) != 1 || given[0] != want {
				t.Errorf("%s: %d: %s = %q, want %q once", got.what, got.status, name, given, want)
			}
		}
	}
	for _, pattern := range a.api.Patterns() {
		if method, path := concrete(pattern); path != wire.PathWatch {
			check(a.do(t, method, path, nil), "a")
		}
	}
	check(a.get(t, "/nothing"), "a")
	check(a.get(t, "/v1//node"), "a")
	check(a.do(t, http.MethodPatch, at("entity/x"), nil), "a")
	check(a.get(t, wire.PathNode+"?x=1"), "a")
	check(a.do(t, http.MethodPut, wire.PathMode, nil, "Origin", "http://evil.example"), "a")
	check(b.put(t, "entity/y", "1").want(http.StatusCreated), "a")
	check(b.put(t, "entity/y", "1", "If-None-Match", "*").want(http.StatusPreconditionFailed), "a")
	check(b.put(t, "entity/x", "1", wire.HeaderForward, "never").want(http.StatusMisdirectedRequest), "b")
	check(a.put(t, "entity/page", "<script>", "Content-Type", "text/html").want(http.StatusCreated), "a")
	check(a.get(t, at("entity/page")).want(http.StatusOK).has("Content-Type", "text/html"), "a")
}
