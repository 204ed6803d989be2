package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// told runs a command against a node that answers by handler, and returns its exit
// code and what it said.
func told(t *testing.T, handler http.HandlerFunc, args ...string) (code int, said string) {
	t.Helper()
	node := httptest.NewServer(handler)
	defer node.Close()
	var out, errOut bytes.Buffer
	s := streams{in: strings.NewReader("payload"), out: &out, err: &errOut}
	code = execute(t.Context(), append(args, "--server", node.URL), s)
	return code, errOut.String()
}

// writes and reads are commands that change something, and that do not.
var (
	writes = [][]string{
		{"memento", "put", "entity/x", "-"},
		{"memento", "delete", "entity/x"},
		{"memento", "batch", "-"},
		{"mode", "hot_backup"},
		{"priority", "5"},
		{"handover", "--to", "b"},
		{"import"},
	}
	reads = [][]string{
		{"memento", "get", "entity/x"},
		{"memento", "list"},
		{"memento", "watch"},
		{"status"},
		{"history"},
	}
)

// A node that takes a request and is not heard of again: frozen, or cut off. What
// became of a write is then not known, and a script must be able to tell.
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
			code, said := told(t, fault, append(args, "--timeout", "300ms")...)
			if code != exitUnknown || !strings.Contains(said, "may have taken effect") {
				t.Errorf("%s, %v: exit code %d, want %d: %s", name, args, code, exitUnknown, said)
			}
		}
		for _, args := range reads {
			code, said := told(t, fault, append(args, "--timeout", "300ms")...)
			if code != exitUnreachable || said == "" {
				t.Errorf("%s, %v: exit code %d, want %d: %s", name, args, code, exitUnreachable, said)
			}
		}
	}
}

// A node that was never reached was asked for nothing.
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

// What a node answers with which code a command ends.
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
		code, said := told(t, handler, "memento", "put", "entity/x", "-")
		if code != want || !strings.Contains(said, fmt.Sprintf("it is %d", status)) {
			t.Errorf("%d: exit code %d, want %d: %s", status, code, want, said)
		}
	}
	store := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(wire.NewProblem(http.StatusServiceUnavailable, wire.KindStore, "etcd is away"))
	}
	if code, said := told(t, store, "history"); code != exitUnreachable {
		t.Errorf("no store: exit code %d, want %d: %s", code, exitUnreachable, said)
	}
	accepted := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"previous":{"mode":"auto","state":"MASTER"},"current":{"mode":"standby","state":"INITIALIZING"}}`)
	}
	if code, said := told(t, accepted, "mode", "standby"); code != exitUnknown || !strings.Contains(said, "still under way") {
		t.Errorf("a change under way: exit code %d, want %d: %s", code, exitUnknown, said)
	}
}
