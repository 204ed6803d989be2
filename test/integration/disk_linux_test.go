package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/rebind"
)

// smallDisk is a file system of its own, which the test is left without.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fillDisk leaves no room in a directory, and returns the file that takes it.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill %s: %v", dir, err)
	}
	return filler
}

// trouble returns nil if the node tells of a trouble that contains the text.
func (p *process) trouble(text string) error {
	var n struct {
		LastError string `json:"last_error"`
	}
	if err := p.get("/v1/node", &n); err != nil {
		return err
	}
	if !strings.Contains(n.LastError, text) || text == "" && n.LastError != "" {
		return fmt.Errorf("last error of %s is %q, want %q", p.name, n.LastError, text)
	}
	return nil
}

// archiveOf is an archive of one memento.
func archiveOf(t *testing.T, name rebind.Name, payload string) []byte {
	t.Helper()
	var text bytes.Buffer
	a, err := archive.NewWriter(&text, archive.Header{Plane: "p", Revision: 1})
	if err == nil {
		err = a.Add(name, &rebind.Content{Payload: []byte(payload)})
	}
	if err == nil {
		_, err = a.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// bringIn imports an archive and returns the answer.
func (p *process) bringIn(text []byte) *answer {
	p.t.Helper()
	a, err := call(p.t.Context(), http.MethodPost, p.url+"/v1/import", nil, text)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// Promise: with an external store a node needs no room on its own disk: it leads, joins
// again, says what is wrong, and stops cleanly.
func TestDisk_Full(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	filler := fillDisk(t, dir)
	c := newCluster(t, 4*time.Second)
	a := c.node("a", "auto", "--data-dir", dir)
	a.await("MASTER")
	eventually(t, maxWait, func() error { return a.trouble("no space left") })
	if code, said, _ := command(t, "doctor", "--server", a.url); code != 1 || !strings.Contains(said, "no space left") {
		t.Errorf("doctor: exit %d\n%s", code, said)
	}
	if got := a.bringIn(archiveOf(t, "entity/x", strings.Repeat("x", 100_000))); got.status != http.StatusInsufficientStorage ||
		!bytes.Contains(got.body, []byte("no space left")) || !bytes.Contains(got.body, []byte("--data-dir")) {
		t.Errorf("import: %d %s", got.status, got.body)
	}
	a.mustPut("entity/y", "1")
	resp, err := c.raw.Get(t.Context(), "/coordinator/p/nodes/a")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("record: %v %v", resp, err)
	}
	lost := resp.Kvs[0].Lease
	if _, err := c.raw.Revoke(t.Context(), clientv3.LeaseID(lost)); err != nil {
		t.Fatal(err)
	}
	eventually(t, maxWait, func() error {
		resp, err := c.raw.Get(t.Context(), "/coordinator/p/nodes/a")
		if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Lease == lost {
			return fmt.Errorf("a has not joined again: %w", err)
		}
		return a.is("MASTER")
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, maxWait, func() error { return a.trouble("") })
	if got := a.bringIn(archiveOf(t, "entity/x", "1")); got.status != http.StatusOK {
		t.Errorf("import with room again: %d %s", got.status, got.body)
	}
	a.signal(syscall.SIGTERM)
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Promise: nor one that it may write to, or that answers at all. It does without notes.
func TestDisk_Unusable(t *testing.T) {
	t.Parallel()
	readOnly := smallDisk(t)
	if err := unix.Mount("none", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	hangs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(hangs, "nodes", "p", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	// To open it waits for a writer, as a file does on a server that is away.
	if err := unix.Mkfifo(filepath.Join(hangs, "nodes", "p", "b", "lease"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 4*time.Second)
	a := c.node("a", "auto", "--data-dir", readOnly)
	a.await("MASTER")
	b := c.node("b", "hot_standby", "--data-dir", hangs)
	b.await("HOT_STANDBY")
	for p, why := range map[*process]string{a: "read-only", b: "does not answer"} {
		if err := p.trouble(why); err != nil {
			t.Error(err)
		}
	}
	if got := a.bringIn(archiveOf(t, "entity/x", "1")); got.status != http.StatusOK {
		t.Errorf("import: %d %s", got.status, got.body)
	}
	a.signal(syscall.SIGTERM)
	b.await("MASTER")
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.signal(syscall.SIGTERM)
	if code := b.exit(maxWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Promise: a node of a data directory that was copied is refused while the one that it
// was copied from lives, and changes nothing.
func TestDisk_Copied(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	own, clone := filepath.Join(c.etcdDir, "nodes-a"), filepath.Join(t.TempDir(), "clone")
	eventually(t, maxWait, func() error {
		_, err := os.Stat(filepath.Join(own, "nodes", "p", "a", "lease"))
		return err
	})
	if err := os.CopyFS(clone, os.DirFS(own)); err != nil {
		t.Fatal(err)
	}
	second := spawn(t, "clone", coordinatorBin, c.runArgs("a", "auto", "--data-dir", clone)...)
	if code := second.exit(maxWait); code != 3 || !strings.Contains(second.output(), a.url) {
		t.Errorf("exit code %d, want 3 and %s named:\n%s", code, a.url, second.output())
	}
	if err := a.is("MASTER"); err != nil {
		t.Error(err)
	}
	if found := c.judge(); len(found.Terms) != 1 {
		t.Errorf("terms %+v, want one", found.Terms)
	}
}
