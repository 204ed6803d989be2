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
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// evil is a text that would set a terminal's title, clear it, move up a line and reverse
// the direction of writing.
const evil = "v1\x1b]0;pwned\x07\x1b[2J\x1b[1A\r\u009b31m\x7f\u202e\u2066\u061c"

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"plain — ünïcode 界\n\t": "plain — ünïcode 界\n\t",
		"\x1b[31m":              `\x1b[31m`,
		"a\rb\x00\x7f":          `a\x0db\x00\x7f`,
		"\u009b1m\u0085":        `\u009b1m\u0085`,
		"\u202edcba\u2069":      `\u202edcba\u2069`,
		"\u2028":                `\u2028`,
		"\x9b1m \xff":           `\x9b1m \xff`,
		"\ufffd":                `\ufffd`,
		`already \x1b`:          `already \x1b`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
	if got := cell("a\nb\tc\x1b"); got != `a\nb\tc\x1b` {
		t.Errorf("cell = %q", got)
	}
}

func TestEscaped_IsTheSameJSON(t *testing.T) {
	body, err := json.Marshal(map[string]string{"a": evil, "b": "plain ünïcode"})
	if err != nil {
		t.Fatal(err)
	}
	shown := escaped(body)
	if bytes.ContainsFunc(shown, unprintable) {
		t.Errorf("it contains control characters: %q", shown)
	}
	var got map[string]string
	if err := json.Unmarshal(shown, &got); err != nil || got["a"] != evil {
		t.Errorf("it decodes to %q, %v", got, err)
	}
}

// No text of a node, a record, a memento or a foreign server reaches a terminal unescaped,
// whichever command shows it.
func TestShown_NothingActsOnTheTerminal(t *testing.T) {
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	e := string(quoted)
	record := `{"id":` + e + `,"instance":` + e + `,"mode":"auto","state":"FAILED","version":` + e + `,"uri":` + e + `,"last_error":` + e + `,"why_not":` + e + `,"since":"2026-01-01T00:00:00Z"}`
	answers := map[string]string{
		wire.PathPlane: `{"plane":` + e + `,"plane_id":` + e + `,"master":` + e + `,"next":` + e + `,"next_why":` + e + `,"nodes":[` + record + `],"store_error":` + e +
			`,"exclusive":{"node":` + e + `,"uri":` + e + `},"pause":{"since":"2026-01-01T00:00:00Z","by":` + e + `},` +
			`"left":[{"id":` + e + `,"version":` + e + `,"uri":` + e + `,"how":` + e + `,"was":"MASTER","mode":"auto","reason":` + e + `}]}`,
		wire.PathNode:     `{"id":` + e + `,"instance":"i","mode":"auto","state":"FAILED","last_error":` + e + `,"quarantined":1,"quarantine":[{"name":` + e + `,"reason":` + e + `}]}`,
		wire.PathHistory:  `{"items":[{"term":3,"node":` + e + `,"from":` + e + `,"reason":` + e + `,"since":"2026-01-01T00:00:00Z"}]}`,
		wire.PathMementos: `{"revision":3,"items":[{"type":` + e + `,"id":` + e + `,"parent":` + e + `,"content_type":` + e + `}]}`,
		wire.PathLogLevel: `{"level":` + e + `}`,
		wire.PathHandover: `{"ok":false,"checks":[{"name":` + e + `,"reason":` + e + `}]}`,
		wire.PathImport:   `{"revision":3,"created":1,"names":{"created":[` + e + `],"changed":[],"deleted":[]}}`,
		wire.PathBatch:    `{"type":"urn:x","status":409,"detail":` + e + `}`,
	}
	node := httptest.NewServer(aNode(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == wire.PathBatch {
			w.WriteHeader(http.StatusConflict)
		}
		if r.URL.Path == wire.PathWatch {
			fmt.Fprintf(w, "event: change\nid: %s\ndata: {\"revision\":6,\"changes\":[{\"op\":%s,\"type\":%s,\"id\":%s,\"fault\":%s}]}\n\n", "6\x1b", e, e, e, e)
			fmt.Fprintf(w, "event: error\ndata: {\"status\":410,\"detail\":%s}\n\n", e)
			return
		}
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	defer node.Close()
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "a\x9bb")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, evil)
	}))
	defer stranger.Close()
	for _, server := range []string{node.URL, stranger.URL} {
		for _, line := range []string{
			"status", "history", "doctor", "memento list", "memento diff 1 2", "log-level", "handover --dry-run", "import", "memento batch",
			"mode auto --node x", "pause", "forget --dead", "health", "export",
		} {
			var out, errOut bytes.Buffer
			args := append(strings.Fields(line), "--server", server, "--timeout", "5s")
			execute(t.Context(), args, streams{in: strings.NewReader("{}"), out: &out, err: &errOut})
			if bytes.ContainsFunc(out.Bytes(), unprintable) || bytes.ContainsFunc(errOut.Bytes(), unprintable) {
				t.Errorf("%s shows %q and says %q", line, &out, &errOut)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &stopper{after: "\n", stop: func() {}}
	errOut := &stopper{after: "going on", stop: cancel}
	execute(ctx, []string{"memento", "watch", "--server", node.URL}, streams{in: strings.NewReader(""), out: out, err: errOut})
	if strings.ContainsFunc(out.text.String()+errOut.text.String(), unprintable) {
		t.Errorf("watch shows %q and says %q", &out.text, &errOut.text)
	}
}
