// This file tests the client.

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// server answers by handler as the node of that name, or as no node if it is empty. It counts
// its requests.
type server struct {
	*httptest.Server
	asked atomic.Int64
}

func serve(t *testing.T, node string, handler http.HandlerFunc) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if node != "" {
			w.Header().Set(wire.HeaderNode, node)
		}
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// nowhere returns the URL of a server that is gone.
func nowhere(t *testing.T) string {
	t.Helper()
	gone := httptest.NewServer(nil)
	gone.Close()
	return gone.URL
}

func fine(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"revision":7}`) }

func refuse(status int, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", wire.ProblemType)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":%q,"status":%d,"detail":"no"}`, kind, status)
	}
}

func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func freeze(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func newClient(t *testing.T, servers ...string) *client.Client {
	t.Helper()
	c, err := client.New(strings.Join(servers, ","), client.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var (
	read  = client.Request{Method: http.MethodGet, Path: wire.PathNode}
	write = client.Request{Method: http.MethodPut, Path: wire.PathMementos + "/entity/x", Body: []byte("payload")}
	dry   = client.Request{Method: http.MethodPost, Path: wire.PathHandover, Body: []byte("{}"), ReadOnly: true}
)

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// The first of several servers that answers counts: a request that was not sent, or not
// applied, goes to the next. A server without a scheme is asked over HTTP.
func TestClient_GoesToTheNextServer(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"gone":   nil,
		"busy":   refuse(503, wire.KindBusy),
		"fenced": refuse(503, wire.KindFenced),
	} {
		for _, request := range []client.Request{read, write, dry} {
			good := serve(t, "b", fine)
			bad := nowhere(t)
			if first != nil {
				bad = serve(t, "a", first).URL
			}
			c := newClient(t, bad, strings.TrimPrefix(good.URL, "http://"))
			for range 2 {
				answer, err := c.Do(within(t, time.Minute), request)
				if err != nil || string(answer.Body) != `{"revision":7}` || answer.Server != good.URL {
					t.Errorf("%s, %s: answer %+v, error %v, want that of the second", name, request.Method, answer, err)
				}
			}
		}
	}
}

// The server that answered last is asked again, so that all requests of a command see one
// state.
func TestClient_StaysWithTheServerThatAnswers(t *testing.T) {
	a, b := serve(t, "a", refuse(503, wire.KindNotReady)), serve(t, "b", fine)
	c := newClient(t, a.URL, b.URL)
	for range 3 {
		if _, err := c.Do(within(t, time.Minute), read); err != nil {
			t.Fatal(err)
		}
	}
	if a.asked.Load() != 1 || b.asked.Load() != 3 {
		t.Errorf("asked %d and %d times, want 1 and 3", a.asked.Load(), b.asked.Load())
	}
}

// In rounds: a plane that changes its master accepts the write after a while.
func TestClient_GoesRoundUntilOneAnswers(t *testing.T) {
	var tries atomic.Int64
	later := func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 5 {
			refuse(503, wire.KindNoMaster)(w, r)
			return
		}
		fine(w, r)
	}
	a, b := serve(t, "a", later), serve(t, "b", later)
	if _, err := newClient(t, nowhere(t), a.URL, b.URL).Do(within(t, time.Minute), write); err != nil || tries.Load() != 5 {
		t.Errorf("error %v after %d tries, want success with the fifth", err, tries.Load())
	}
}

// When the time is over, the answers of nodes count more than missing answers.
func TestClient_TellsInTheEndWhatEachSaid(t *testing.T) {
	a := serve(t, "a", refuse(503, wire.KindNoMaster))
	gone := nowhere(t)
	_, err := newClient(t, gone, a.URL).Do(within(t, 500*time.Millisecond), write)
	var p *wire.Problem
	if !errors.As(err, &p) || p.Type != wire.KindNoMaster || !strings.Contains(err.Error(), a.URL+": no") || !strings.Contains(err.Error(), gone) {
		t.Errorf("error = %v, want what both have said", err)
	}
	if errors.Is(err, client.ErrUnknown) {
		t.Errorf("error = %v: nothing was applied", err)
	}
	_, err = newClient(t, gone, nowhere(t)).Do(within(t, 500*time.Millisecond), read)
	if !errors.Is(err, client.ErrUnreachable) || strings.Contains(err.Error(), "deadline") {
		t.Errorf("error = %v, want that none was reached, and why", err)
	}
}

// Without a master a write waits for one. No such wait begins that could not end in time: the
// outcome would be unknown.
func TestClient_BeginsNoWriteThatTimeEnds(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		<-time.After(400 * time.Millisecond)
		refuse(503, wire.KindNoMaster)(w, r)
	}
	a, b := serve(t, "a", slow), serve(t, "b", slow)
	_, err := newClient(t, a.URL, b.URL).Do(within(t, 1500*time.Millisecond), write)
	if !errors.As(err, new(*wire.Problem)) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("error = %v, want the refusal", err)
	}
}

// A single server is asked once.
func TestClient_AsksASingleServerOnce(t *testing.T) {
	a := serve(t, "a", refuse(503, wire.KindNoMaster))
	_, err := newClient(t, a.URL).Do(within(t, time.Minute), write)
	if !errors.As(err, new(*wire.Problem)) || a.asked.Load() != 1 {
		t.Errorf("error = %v after %d requests, want the refusal after one", err, a.asked.Load())
	}
	if _, err := newClient(t, nowhere(t)).Do(within(t, time.Minute), read); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error = %v, want ErrUnreachable", err)
	}
}

// A write that may have been applied is not sent to another server; a read is.
func TestClient_SendsNoWriteTwice(t *testing.T) {
	for name, bad := range map[string]struct {
		node    string
		handler http.HandlerFunc
	}{
		"hangs up": {"a", hangUp},
		"a proxy's page": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>")
		}},
		"a proxy's 503": {"", refuse(503, wire.KindNoMaster)},
	} {
		a, b := serve(t, bad.node, bad.handler), serve(t, "b", fine)
		_, err := newClient(t, a.URL, b.URL).Do(within(t, time.Minute), write)
		if !errors.Is(err, client.ErrUnknown) || b.asked.Load() != 0 {
			t.Errorf("%s: a write ends with %v, and the next server is asked %d times", name, err, b.asked.Load())
		}
		for _, request := range []client.Request{read, dry} {
			if _, err := newClient(t, a.URL, b.URL).Do(within(t, time.Minute), request); err != nil {
				t.Errorf("%s: a read ends with %v, want the answer of the next", name, err)
			}
		}
	}
}

// A frozen server delays a read only for a share of the time.
func TestClient_LeavesAFrozenServer(t *testing.T) {
	a, b := serve(t, "a", freeze), serve(t, "b", fine)
	if _, err := newClient(t, a.URL, b.URL).Do(within(t, 3*time.Second), read); err != nil {
		t.Error(err)
	}
	if _, err := newClient(t, a.URL, b.URL).Do(within(t, time.Second), write); !errors.Is(err, client.ErrUnknown) || b.asked.Load() != 1 {
		t.Errorf("a write ends with %v, %d requests at the other", err, b.asked.Load())
	}
}

// A refusal is final: no other server is asked.
func TestClient_TakesARefusalForAnAnswer(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 412, 413, 415, 421, 422, 500, 504, 507} {
		a, b := serve(t, "a", refuse(status, "urn:x")), serve(t, "b", fine)
		_, err := newClient(t, a.URL, b.URL).Do(within(t, time.Minute), write)
		var p *wire.Problem
		if !errors.As(err, &p) || p.Status != status || b.asked.Load() != 0 {
			t.Errorf("%d: error %v", status, err)
		}
	}
	a, b := serve(t, "a", refuse(503, wire.KindNotReady)), serve(t, "b", fine)
	probe := client.Request{Method: http.MethodGet, Path: wire.PathReady, Probe: true}
	if _, err := newClient(t, a.URL, b.URL).Do(within(t, time.Minute), probe); !errors.As(err, new(*wire.Problem)) || b.asked.Load() != 0 {
		t.Errorf("a probe ends with %v, want the first one's 503", err)
	}
}

// No redirect is followed, and the token is sent only to the server that was asked.
func TestClient_FollowsNoRedirect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := credentials.ReadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	target := serve(t, "b", fine)
	for _, node := range []string{"", "a"} {
		for _, status := range []int{300, 301, 302, 303, 307, 308} {
			a := serve(t, node, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, target.URL+"/elsewhere", status)
			})
			c, err := client.New(a.URL, client.Credentials{Token: token})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Do(within(t, time.Minute), write)
			if !errors.Is(err, client.ErrUnknown) || !errors.Is(err, client.ErrNotNode) || !strings.Contains(err.Error(), target.URL+"/elsewhere") {
				t.Errorf("%d: a write ends with %v, want an unknown outcome that says where it was sent", status, err)
			}
			if _, err = c.Do(within(t, time.Minute), read); !errors.Is(err, client.ErrNotNode) || errors.Is(err, client.ErrUnknown) {
				t.Errorf("%d: a read ends with %v, want no node", status, err)
			}
			if _, _, err := c.Identity(within(t, time.Minute)); err != nil {
				t.Errorf("%d: identity: %v", status, err)
			}
		}
	}
	if target.asked.Load() != 0 {
		t.Errorf("redirects were followed %d times", target.asked.Load())
	}
}

// An answer that does not come from a node is described, without showing its body.
func TestClient_TellsWhoAnswers(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		`answered "502 Bad Gateway", "text/html", as "nginx/1.2"`: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Server", "nginx/1.2")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>\x1b[31m")
		},
		`answered "200 OK", "application/json"`: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"revision":1}`)
		},
		"it is an etcd, a plane's store": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/version" {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, `{"etcdserver":"3.6.1","etcdcluster":"3.6.0"}`)
		},
	} {
		s := serve(t, "", handler)
		_, err := newClient(t, s.URL).Do(within(t, time.Minute), read)
		if !errors.Is(err, client.ErrNotNode) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.URL) || strings.ContainsAny(err.Error(), "\x1b<") {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

// An answer that is cut short, or is not what was requested, is not a success.
func TestClient_TakesNoHalfAnswer(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"rev`)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") },
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"null":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, " null\n") },
	} {
		c := newClient(t, serve(t, "a", handler).URL)
		ask := func(request client.Request) error {
			answer, err := c.Do(within(t, time.Minute), request)
			if err != nil {
				return err
			}
			return answer.Decode(new(wire.Written))
		}
		if err := ask(write); !errors.Is(err, client.ErrUnknown) || !errors.Is(err, client.ErrLost) {
			t.Errorf("%s: a write ends with %v, want an unknown outcome", name, err)
		}
		for _, request := range []client.Request{read, dry} {
			if err := ask(request); !errors.Is(err, client.ErrLost) || errors.Is(err, client.ErrUnknown) {
				t.Errorf("%s: a read ends with %v, want no answer", name, err)
			}
		}
	}
}

// A server that speaks TLS, or another protocol, instead of plain HTTP is reported in words.
func TestClient_TellsOfTheWrongScheme(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(fine))
	defer secure.Close()
	plain := serve(t, "a", fine)
	alert, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var alerting sync.WaitGroup
	defer alerting.Wait()
	defer alert.Close()
	alerting.Go(func() {
		for {
			conn, err := alert.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<10))
			_, _ = conn.Write([]byte{0x15, 3, 1, 0, 2, 2, 0x16})
			_ = conn.Close()
		}
	})
	for server, want := range map[string]string{
		strings.Replace(secure.URL, "https", "http", 1): "write https:// for http://",
		strings.Replace(plain.URL, "http", "https", 1):  "write http:// for https://",
		"http://" + alert.Addr().String():               "write https:// for http://",
	} {
		for _, request := range []client.Request{read, write} {
			_, err := newClient(t, server).Do(within(t, time.Minute), request)
			if !errors.Is(err, client.ErrTrust) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), server) {
				t.Errorf("%s of %s: error %v, want %s", request.Method, server, err, want)
			}
		}
	}
}

// A write has a deadline header; a read has none.
func TestClient_SendsItsDeadline(t *testing.T) {
	var told string
	a := serve(t, "a", func(w http.ResponseWriter, r *http.Request) {
		told = r.Header.Get(wire.HeaderDeadline)
		fine(w, r)
	})
	c := newClient(t, a.URL)
	ctx := within(t, time.Minute)
	if _, err := c.Do(ctx, write); err != nil {
		t.Fatal(err)
	}
	deadline, _ := ctx.Deadline()
	if got, err := time.Parse(time.RFC3339, told); err != nil || !got.Equal(deadline.Round(0)) {
		t.Errorf("%s is %q, want %s", wire.HeaderDeadline, told, deadline)
	}
	if _, err := c.Do(ctx, read); err != nil || told != "" {
		t.Errorf("error %v, a read says %q", err, told)
	}
}

// An upload that was partly read is not sent to another server.
func TestClient_DoesNotCutAnUpload(t *testing.T) {
	b := serve(t, "b", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "whole" {
			t.Errorf("got %q, want whole", body)
		}
		fine(w, r)
	})
	upload := func() client.Request {
		return client.Request{Method: http.MethodPost, Path: wire.PathImport, Upload: strings.NewReader("whole")}
	}
	if _, err := newClient(t, nowhere(t), b.URL).Do(within(t, time.Minute), upload()); err != nil {
		t.Error(err)
	}
	a := serve(t, "a", refuse(503, wire.KindNoMaster))
	_, err := newClient(t, a.URL, b.URL).Do(within(t, time.Minute), upload())
	if !errors.As(err, new(*wire.Problem)) || b.asked.Load() != 1 {
		t.Errorf("error = %v, and the next was asked %d times", err, b.asked.Load())
	}
}

func TestParseServers(t *testing.T) {
	for list, want := range map[string]string{
		"http://h:1":              "http://h:1",
		"h:1":                     "http://h:1",
		"https://h:1,h:2,[::1]:3": "https://h:1 http://h:2 http://[::1]:3",
		"http://h":                "http://h",
		"http://h:1/prefix":       "http://h:1/prefix",
		"":                        "",
		"h":                       "",
		",":                       "",
		"h:1,":                    "",
		",h:1":                    "",
		"h:1,,h:2":                "",
		"h:1, h:2":                "",
		" h:1":                    "",
		"http://h:1 ":             "",
		`"http://h:1"`:            "",
		"'h:1'":                   "",
		"ftp://h:1":               "",
		"http://":                 "",
		"http://:1":               "",
		":1":                      "",
		"h:0":                     "",
		"h:99999":                 "",
		"h:x":                     "",
		"http://h:":               "",
		"http://h:1?x=y":          "",
		"http://h:1#x":            "",
		"::1:7400":                "",
		"http:/h:1":               "",
		"h:1;h:2":                 "",
	} {
		servers, err := client.ParseServers(list)
		var got []string
		for _, s := range servers {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != want || (err != nil) != (want == "") {
			t.Errorf("ParseServers(%q) = %q, %v, want %q", list, got, err, want)
		}
	}
}
