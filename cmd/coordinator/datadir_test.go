package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// reopen opens the directory as the next process does.
func reopen(t *testing.T, path string) *nodeDir {
	t.Helper()
	d, err := openDir(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // the test may have closed it already
	return d
}

// keeping starts the writing of notes; the returned func ends it.
func keeping(d *nodeDir, log *zap.Logger) (end func()) {
	ended := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { d.run(ended, log) })
	return func() { close(ended); group.Wait() }
}

func TestNodeDir_KeepsTheNewestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	if d.highestTerm != 0 || d.lastLease != 0 {
		t.Fatalf("a new directory knows term %d and lease %x", d.highestTerm, d.lastLease)
	}
	end := keeping(d, zap.NewNop())
	for n := range int64(1000) {
		d.noteTerm(n + 1)
		d.noteLease(0xabc + n)
	}
	end()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, path)
	if again.highestTerm != 1000 || again.lastLease != 0xabc+999 {
		t.Errorf("the next process knows term %d and lease %x", again.highestTerm, again.lastLease)
	}
}

// A process that is killed right after joining has noted its lease for the next process.
func TestNodeDir_NotesALeaseBeforeItIsUsed(t *testing.T) {
	d := reopen(t, filepath.Join(t.TempDir(), "a"))
	write := d.write
	d.write = func(path string, data []byte) error {
		<-time.After(20 * time.Millisecond)
		return write(path, data)
	}
	defer keeping(d, zap.NewNop())()
	for lease := int64(1); lease <= 3; lease++ {
		d.noteLease(lease)
		if noted, err := readLease(d.leaseFile(), d.place); err != nil || noted != lease {
			t.Errorf("lease %d is used, and lease %d is noted, %v", lease, noted, err)
		}
	}
}

// The lock of a copied directory says nothing about the process that holds the lease.
func TestNodeDir_CopiedKnowsNoLease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	end := keeping(d, zap.NewNop())
	d.noteLease(0xabc)
	d.noteTerm(7)
	end()
	clone := filepath.Join(t.TempDir(), "clone")
	if err := os.CopyFS(clone, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	if c := reopen(t, clone); c.lastLease != 0 || c.highestTerm != 7 {
		t.Errorf("a copied directory gives lease %x and term %d, want none and 7", c.lastLease, c.highestTerm)
	}
	// A copied machine has the same inode numbers but another boot id.
	note, err := os.ReadFile(d.leaseFile())
	if err != nil {
		t.Fatal(err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(note), boot) {
		t.Fatalf("the note %q does not name the boot %q", note, boot)
	}
	if err := os.WriteFile(d.leaseFile(), []byte(strings.Replace(string(note), boot, "another", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if c := reopen(t, path); c.lastLease != 0 {
		t.Errorf("after another boot lease %x is known", c.lastLease)
	}
}

// A note that cannot be written, or is broken, does not keep a node from running.
func TestNodeDir_GoesOnWithoutTheNote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	core, logs := observer.New(zap.InfoLevel)
	full := errors.New("full")
	d.write = func(string, []byte) error { return full }
	end := keeping(d, zap.New(core))
	d.noteTerm(7)
	d.noteLease(7)
	end()
	if logs.FilterMessage("notes not written to the data directory, retrying").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
	if !strings.Contains(d.Trouble(), "full") {
		t.Errorf("trouble %q", d.Trouble())
	}
	d.write = newNodeDir("").write
	end = keeping(d, zap.New(core))
	d.noteTerm(7)
	end()
	if d.Trouble() != "" || logs.FilterMessage("notes are written to the data directory again").Len() != 1 {
		t.Errorf("trouble %q, logged %v", d.Trouble(), logs.All())
	}
	for _, file := range []string{d.termFile(), d.leaseFile()} {
		if err := os.WriteFile(file, []byte("garbage\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if again := reopen(t, path); again.highestTerm != 0 || again.lastLease != 0 {
		t.Errorf("garbage is read as term %d and lease %x", again.highestTerm, again.lastLease)
	}
}

// A disk that hangs blocks neither a caller that notes something nor the end of the
// process.
func TestNodeDir_HangsAlone(t *testing.T) {
	d := reopen(t, filepath.Join(t.TempDir(), "a"))
	release := make(chan struct{})
	defer close(release)
	d.write = func(string, []byte) error { <-release; return nil }
	end := keeping(d, zap.NewNop())
	began := time.Now()
	for n := range int64(3) {
		d.noteTerm(n)
		d.noteLease(n)
	}
	end()
	if err := d.Close(); err != nil || time.Since(began) > 4*diskTimeout {
		t.Errorf("close: %v after %s", err, time.Since(began))
	}
	long := time.Now().Add(-2 * diskTimeout)
	d.began.Store(&long)
	if !strings.Contains(d.Trouble(), "does not answer") {
		t.Errorf("trouble %q of a disk that hangs", d.Trouble())
	}
}

// Opening waits for a disk only as long as ctx allows. A pipe without a writer hangs like a
// file on an unreachable server.
func TestOpenDir_Hangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(d.leaseFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := openDir(ctx, path); !unusable(err) {
		t.Errorf("open = %v, want it not to wait", err)
	}
	free, err := os.OpenFile(d.leaseFile(), os.O_WRONLY|syscall.O_NONBLOCK, 0) // the abandoned call ends
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
}
