package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// exports is a node that exports a text.
func exports(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(wire.HeaderQuarantined, "0")
		_, _ = io.WriteString(w, text)
	}
}

// holds returns the content of a file.
func holds(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// inDirectory lists the files of a directory.
func inDirectory(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// An export is written whole or not at all: the old file stays unchanged until then, and
// nothing is left beside it.
func TestExport_WholeOrNotAtAll(t *testing.T) {
	whole := string(anArchive(t))
	for name, handler := range map[string]http.HandlerFunc{
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
			exports(whole[:len(whole)-10])(w, r)
		},
		"incomplete": exports(whole[:len(whole)-10]),
		"flipped":    exports(strings.Replace(whole, "hello", "hallo", 1)),
		"refused":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	} {
		for _, before := range []string{"", "before"} {
			dir := t.TempDir()
			file := filepath.Join(dir, "archive")
			if before != "" {
				if err := os.WriteFile(file, []byte(before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			if code, stderr := runAgainst(t, handler, "export", file); code == exitDone {
				t.Errorf("%s: exit code 0: %s", name, stderr)
			}
			if before != "" && holds(t, file) != before || before == "" && inDirectory(t, dir) != "" || before != "" && inDirectory(t, dir) != "archive" {
				t.Errorf("%s: afterwards there is %q", name, inDirectory(t, dir))
			}
		}
	}
}

// An interrupted export leaves the old file.
func TestExport_Interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	node := httptest.NewServer(aNode(func(w http.ResponseWriter, r *http.Request) {
		exports(string(anArchive(t))[:30])(w, r)
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer node.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "archive")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	code := execute(ctx, []string{"export", file, "--server", node.URL}, streams{out: io.Discard, err: &stderr})
	if code != exitFailed || !strings.Contains(stderr.String(), "interrupted") || holds(t, file) != "before" || inDirectory(t, dir) != "archive" {
		t.Errorf("exit code %d, and there is %s: %s", code, inDirectory(t, dir), &stderr)
	}
}

// An existing file keeps its mode, and a link to it stays a link.
func TestExport_KeepsModeAndLinks(t *testing.T) {
	whole := string(anArchive(t))
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("old"), []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at("old"), 0o664); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(at("old"), 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range [][2]string{{"old", "link"}, {at("link"), "again"}, {"new", "dangling"}} {
		if err := os.Symlink(link[0], at(link[1])); err != nil {
			t.Fatal(err)
		}
	}
	for written, target := range map[string]string{"again": "old", "dangling": "new"} {
		if code, stderr := runAgainst(t, exports(whole), "export", at(written)); code != exitDone {
			t.Fatalf("%s: exit code %d: %s", written, code, stderr)
		}
		if info, err := os.Lstat(at(written)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more: %v, %v", written, info, err)
		}
		if holds(t, at(target)) != whole {
			t.Errorf("%s holds %q", target, holds(t, at(target)))
		}
	}
	for name, mode := range map[string]fs.FileMode{"old": 0o664, "new": 0o600} {
		info, err := os.Stat(at(name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v, %v", name, info.Mode(), mode, err)
		}
		if stat := info.Sys().(*syscall.Stat_t); name == "old" && os.Geteuid() == 0 && (stat.Uid != 1234 || stat.Gid != 2345) {
			t.Errorf("%s belongs to %d:%d", name, stat.Uid, stat.Gid)
		}
	}
	if got := inDirectory(t, dir); got != "again dangling link new old" {
		t.Errorf("there is %s", got)
	}
}

// A file that is not regular is written to directly and stays.
func TestExport_WritesToWhatIsNoFile(t *testing.T) {
	whole := string(anArchive(t))
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	var read []byte
	reading.Go(func() { read, _ = os.ReadFile(pipe) })
	link := filepath.Join(dir, "null")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{pipe: fs.ModeNamedPipe, os.DevNull: fs.ModeCharDevice, link: fs.ModeCharDevice} {
		if code, stderr := runAgainst(t, exports(whole), "export", path); code != exitDone {
			t.Errorf("%s: exit code %d: %s", path, code, stderr)
		}
		if info, err := os.Stat(path); err != nil || info.Mode()&mode == 0 {
			t.Errorf("%s is %v, %v", path, info, err)
		}
	}
	if reading.Wait(); string(read) != whole {
		t.Errorf("the pipe was written %q", read)
	}
	if got := inDirectory(t, dir); got != "null pipe" {
		t.Errorf("there is %s", got)
	}
}

// If the file cannot be written, the command says so at once and changes nothing.
func TestExport_WhereNothingCanBeWritten(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{
		dir: "is a directory: name a file in it", filepath.Join(dir, "none", "x"): "no such file", loop: "symbolic links", "": "name of a file is empty",
		"/proc/version/x": "not a directory", "/proc/none": "cannot create the temporary file", "/dev/fd/99": "bad file descriptor",
	}
	if os.Geteuid() != 0 {
		sealed := filepath.Join(dir, "sealed")
		if err := os.WriteFile(sealed, nil, 0o400); err != nil {
			t.Fatal(err)
		}
		paths[sealed] = "permission denied"
	}
	for path, want := range paths {
		asked := false
		code, stderr := runAgainst(t, func(http.ResponseWriter, *http.Request) { asked = true }, "export", path)
		if code != exitUsage || !strings.Contains(stderr, want) || asked {
			t.Errorf("%q: exit code %d, asked %t, want %d and %q: %s", path, code, asked, exitUsage, want, stderr)
		}
	}
	if code, stderr := runAgainst(t, exports(string(anArchive(t))), "export", "/dev/full"); code != exitFailed || !strings.Contains(stderr, "no space left") {
		t.Errorf("a full device: exit code %d: %s", code, stderr)
	}
	for args, want := range map[string]string{"import": "is a directory: name an archive in it", "memento put entity/x": "is a directory", "memento batch": "is a directory"} {
		if code, stderr := runAgainst(t, exports(""), append(strings.Fields(args), dir)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s of a directory: exit code %d: %s", args, code, stderr)
		}
	}
}

// A token may be written to a pipe or device; it replaces no file, and is removed if its
// line could not be printed.
func TestToken_File(t *testing.T) {
	dir := t.TempDir()
	make := func(out io.Writer, path string) int {
		return execute(context.Background(), []string{"token", "alice", "admin", path}, streams{out: out, err: io.Discard})
	}
	for path, want := range map[string]int{os.DevNull: exitDone, filepath.Join(dir, "a"): exitDone, dir: exitUsage, filepath.Join(dir, "none", "x"): exitUsage} {
		if code := make(io.Discard, path); code != want {
			t.Errorf("%s: exit code %d, want %d", path, code, want)
		}
	}
	before := holds(t, filepath.Join(dir, "a"))
	if code := make(io.Discard, filepath.Join(dir, "a")); code != exitUsage || holds(t, filepath.Join(dir, "a")) != before {
		t.Errorf("exit code %d, and the file that was there holds %q", code, holds(t, filepath.Join(dir, "a")))
	}
	if code := make(full{}, filepath.Join(dir, "b")); code != exitFailed || inDirectory(t, dir) != "a" {
		t.Errorf("exit code %d, and there is %s", code, inDirectory(t, dir))
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Errorf("%s is %v, %v", os.DevNull, info, err)
	}
}

// full accepts no bytes.
type full struct{}

// Write implements [io.Writer].
func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
