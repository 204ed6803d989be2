package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// aNode adds to handler what identifies a node.
func aNode(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.HeaderNode, "a")
		handler(w, r)
	}
}

// runAgainst runs a command against a node with this handler, and returns its exit code and
// standard error.
func runAgainst(t *testing.T, handler http.HandlerFunc, args ...string) (code int, stderr string) {
	t.Helper()
	return runAgainstServer(t, aNode(handler), args...)
}

// runAgainstServer is runAgainst for a server that need not be a node.
func runAgainstServer(t *testing.T, handler http.HandlerFunc, args ...string) (code int, stderr string) {
	t.Helper()
	node := httptest.NewServer(handler)
	defer node.Close()
	var out, errOut bytes.Buffer
	s := streams{in: strings.NewReader("payload"), out: &out, err: &errOut}
	code = execute(t.Context(), append(args, "--server", node.URL), s)
	return code, errOut.String()
}

// writes and reads are commands that change something, and commands that do not.
var (
	writes = [][]string{
		{"memento", "put", "entity/x", "-"},
		{"memento", "delete", "entity/x"},
		{"memento", "batch", "-"},
		{"mode", "hot_backup"},
		{"priority", "5"},
		{"handover", "--to", "b"},
		{"pause"},
		{"resume"},
		{"forget", "b"},
		{"log-level", "debug"},
		{"import"},
	}
	reads = [][]string{
		{"memento", "get", "entity/x"},
		{"memento", "list"},
		{"memento", "watch"},
		{"memento", "diff", "1", "2"},
		{"status"},
		{"history"},
		{"log-level"},
		{"export"},
		{"handover", "--dry-run"},
		{"import", "--dry-run"},
		{"mode", "auto", "--node", "b"}, // asks for node b's address first
	}
)

// A node takes a request and is not heard of again: it froze or was cut off. The outcome of
// a write is then unknown, and a script must be able to see that.
func TestExitCode_NodeThatDoesNotAnswer(t *testing.T) {
	faults := map[string]http.HandlerFunc{
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
		"hangs up": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = conn.Close()
			}
		},
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		},
	}
	for name, fault := range faults {
		for _, args := range writes {
			code, stderr := runAgainst(t, fault, append(args, "--timeout", "300ms")...)
			if code != exitUnknown || !strings.Contains(stderr, "may have taken effect") {
				t.Errorf("%s, %v: exit code %d, want %d: %s", name, args, code, exitUnknown, stderr)
			}
		}
		for _, args := range reads {
			code, stderr := runAgainst(t, fault, append(args, "--timeout", "300ms")...)
			if code != exitUnreachable || stderr == "" {
				t.Errorf("%s, %v: exit code %d, want %d: %s", name, args, code, exitUnreachable, stderr)
			}
		}
	}
}

// A node that was never reached has changed nothing.
func TestExitCode_NodeThatIsNotThere(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, args := range append(writes, reads...) {
		s := streams{in: strings.NewReader("payload"), out: io.Discard, err: io.Discard}
		if code := execute(context.Background(), append(args, "--server", gone.URL), s); code != exitUnreachable {
			t.Errorf("%v: exit code %d, want %d", args, code, exitUnreachable)
		}
	}
}

// The exit code for each answer of a node.
func TestExitCode_OfEachStatus(t *testing.T) {
	for status, want := range map[int]int{
		400: exitUsage, 401: exitUsage, 403: exitUsage, 413: exitUsage, 415: exitUsage,
		404: exitNotFound, 409: exitRefused, 412: exitRefused, 421: exitRefused, 503: exitRefused,
		504: exitUnknown, 500: exitFailed, 422: exitFailed, 507: exitFailed,
	} {
		handler := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.ProblemType)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(wire.NewProblem(status, "urn:x", fmt.Sprintf("it is %d", status)))
		}
		code, stderr := runAgainst(t, handler, "memento", "put", "entity/x", "-")
		if code != want || !strings.Contains(stderr, fmt.Sprintf("it is %d", status)) {
			t.Errorf("%d: exit code %d, want %d: %s", status, code, want, stderr)
		}
	}
	store := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(wire.NewProblem(http.StatusServiceUnavailable, wire.KindStore, "etcd is away"))
	}
	if code, stderr := runAgainst(t, store, "history"); code != exitUnreachable {
		t.Errorf("no store: exit code %d, want %d: %s", code, exitUnreachable, stderr)
	}
	accepted := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"previous":{"mode":"auto","state":"MASTER"},"current":{"mode":"standby","state":"INITIALIZING"}}`)
	}
	if code, stderr := runAgainst(t, accepted, "mode", "standby"); code != exitUnknown || !strings.Contains(stderr, "still in progress") {
		t.Errorf("a change under way: exit code %d, want %d: %s", code, exitUnknown, stderr)
	}
}

// A server that is not a node, with any status and body, has done nothing that can be
// relied on: the outcome of a write is unknown, and a read found no node. Redirects are not
// followed.
func TestExitCode_OfWhatIsNoNode(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(aNode(func(w http.ResponseWriter, _ *http.Request) {
		followed = true
		_, _ = io.WriteString(w, `{"revision":1}`)
	}))
	defer elsewhere.Close()
	for _, status := range []int{200, 201, 204, 301, 302, 307, 308, 400, 401, 404, 407, 409, 412, 502, 503, 504} {
		handler := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if status/100 == 3 {
				w.Header().Set("Location", elsewhere.URL)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if status != http.StatusNoContent {
				_, _ = io.WriteString(w, `{"revision":1,"status":`+fmt.Sprint(status)+`}`)
			}
		}
		for _, args := range writes {
			if code, stderr := runAgainstServer(t, handler, args...); code != exitUnknown || !strings.Contains(stderr, fmt.Sprintf(`answered "%d `, status)) {
				t.Errorf("%d, %v: exit code %d, want %d: %s", status, args, code, exitUnknown, stderr)
			}
		}
		for _, args := range append(reads, []string{"health"}, []string{"health", "live"}, []string{"doctor"}) {
			if code, stderr := runAgainstServer(t, handler, args...); code != exitUnreachable {
				t.Errorf("%d, %v: exit code %d, want %d: %s", status, args, code, exitUnreachable, stderr)
			}
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// A success status without a result is not a success.
func TestExitCode_OfAnAnswerThatLacksSomething(t *testing.T) {
	for _, body := range []string{"", "{}", "null", "[]", `"done"`, "<html>", `{"revision":0}`, `{"revision":-1,"current":null,"pause":null,"to":"","forgotten":"x"}`} {
		for _, status := range []int{200, 201, 202} {
			handler := func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
			for _, args := range writes {
				if code, stderr := runAgainst(t, handler, args...); code != exitUnknown || !strings.Contains(stderr, "may have taken effect") {
					t.Errorf("%d %s, %v: exit code %d, want %d: %s", status, body, args, code, exitUnknown, stderr)
				}
			}
		}
	}
}

// With --node the command asks that node at the address in its record, if that very process
// answers there; nobody else gets a token.
func TestAtNode_AsksThatNodeAlone(t *testing.T) {
	var got []string
	at := func(node, instance string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, fmt.Sprintf("%s %s %t", node, r.URL.Path, r.Header.Get("Authorization") != ""))
			if node != "" {
				w.Header().Set(wire.HeaderNode, node)
			}
			w.Header().Set(wire.HeaderInstance, instance)
			_, _ = io.WriteString(w, `{"previous":0,"current":5}`)
		}))
		t.Cleanup(s.Close)
		return s
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		by   *httptest.Server
		code int
		got  []string
	}{
		"itself":          {at("b", "i1"), exitDone, []string{"b /livez false", "b " + wire.PathPriority + " true"}},
		"another node":    {at("a", "i2"), exitUnreachable, []string{"a /livez false"}},
		"another process": {at("b", "i2"), exitUnreachable, []string{"b /livez false"}},
		"not a node":      {at("", ""), exitUnreachable, []string{" /livez false"}},
	} {
		got = nil
		plane := func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"nodes":[{"id":"b","instance":"i1","mode":"auto","state":"STANDBY","uri":%q}]}`, c.by.URL)
		}
		code, stderr := runAgainst(t, plane, "priority", "5", "--node", "b", "--token-file", token)
		if code != c.code || fmt.Sprint(got) != fmt.Sprint(c.got) {
			t.Errorf("%s: exit code %d, asked %q, want %d and %q: %s", name, code, got, c.code, c.got, stderr)
		}
	}
}
