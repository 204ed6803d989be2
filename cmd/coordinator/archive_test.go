package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

func anArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Header{Plane: "p", Revision: 7})
	if err == nil {
		err = w.Add("entity/x", &rebind.Content{Payload: []byte("hello")})
	}
	if err == nil {
		_, err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A file is replaced only by a complete export; until then the old one stays.
func TestExport_ToAFile(t *testing.T) {
	whole := anArchive(t)
	path := filepath.Join(t.TempDir(), "plane.archive")
	serve := func(text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(wire.HeaderQuarantined, "0")
			_, _ = w.Write(text)
		}
	}
	for i := range whole {
		if code, stderr := runAgainst(t, serve(whole[:i]), "export", path); code != exitFailed || !strings.Contains(stderr, "archive is broken") {
			t.Fatalf("%d bytes of %d: exit code %d, want %d: %s", i, len(whole), code, exitFailed, stderr)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 0 {
		t.Fatalf("broken exports leave %v, %v", files, err)
	}
	if code, stderr := runAgainst(t, serve(whole), "export", path); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if code, stderr := runAgainst(t, serve(whole[:10]), "export", path); code != exitFailed {
		t.Errorf("exit code %d, want %d: %s", code, exitFailed, stderr)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("the file is %q, %v: want the whole archive", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v: want it to be readable by its owner only", info.Mode(), err)
	}
}

// The timeout limits how long an import may stall: while the node reports progress, the
// command waits.
func TestImport_IsWaitedFor(t *testing.T) {
	const limit = time.Second
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 4 {
			<-time.After(limit / 2)
			w.WriteHeader(http.StatusProcessing)
		}
		_, _ = io.WriteString(w, `{"revision":9,"created":2,"changed":1,"unchanged":0,"deleted":0,"dry_run":true,"names":{"created":["a/b"],"changed":["c/d"],"deleted":[]}}`)
	}
	node := httptest.NewServer(aNode(handler))
	defer node.Close()
	var out, errOut bytes.Buffer
	s := streams{in: bytes.NewReader(anArchive(t)), out: &out, err: &errOut}
	code := execute(t.Context(), []string{"import", "--dry-run", "--server", node.URL, "--timeout", limit.String()}, s)
	const want = "+ a/b\n+ and 1 more\n~ c/d\nwould create 2, change 1, delete 0; 0 unchanged; revision 9\n"
	if code != exitDone || out.String() != want {
		t.Errorf("exit code %d: %s\n%s\nwant:\n%s", code, &errOut, &out, want)
	}
}

func TestBar_IsForPeople(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, "importing", 100, size)
	b.add(50)
	b.close()
	if out.Len() > 0 {
		t.Errorf("a bar %q is drawn although there is no terminal", &out)
	}
	for want, b := range map[string]*bar{
		"[##########..........] 50% of 2.0 KiB": {done: 1 << 10, total: 2 << 10, unit: size},
		"[####################] 100% of 10 B":   {done: 11, total: 10, unit: size},
		"1.5 MiB":                               {done: 3 << 19, unit: size},
		"7 mementos":                            {done: 7, unit: count},
		"2.0 GiB":                               {done: 2 << 30, unit: size},
	} {
		if got := b.text(); got != want {
			t.Errorf("bar = %q, want %q", got, want)
		}
	}
}

func TestLoadNote(t *testing.T) {
	if got, want := loadNote(&wire.Mirror{Loaded: 450, Total: 1000}), "loading [#########...........] 45% of 1000 mementos"; got != want {
		t.Errorf("note = %q, want %q", got, want)
	}
	for _, m := range []*wire.Mirror{nil, {}, {Loaded: 5, Total: 5}} {
		if got := loadNote(m); got != "" {
			t.Errorf("note of %+v = %q, want none", m, got)
		}
	}
}
