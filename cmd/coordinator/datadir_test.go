package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// reopen takes the directory as the next process does.
func reopen(t *testing.T, path string) *nodeDir {
	t.Helper()
	d, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // again, where the test has closed it
	return d
}

func TestNodeDir_KeepsTheHighestTerm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	if d.highestTerm != 0 || d.lastLease != 0 {
		t.Fatalf("a new directory knows term %d and lease %x", d.highestTerm, d.lastLease)
	}
	ended := make(chan struct{})
	var keeping sync.WaitGroup
	keeping.Go(func() { d.keepTerms(ended, zap.NewNop()) })
	for term := range int64(1000) {
		d.noteTerm(term + 1) // never waits for the disk
	}
	close(ended)
	keeping.Wait()
	if err := d.noteLease(0xabc); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, path)
	if again.highestTerm != 1000 || again.lastLease != 0xabc {
		t.Errorf("the next process knows term %d and lease %x", again.highestTerm, again.lastLease)
	}
}

// A note that cannot be written, or read, keeps no node from running.
func TestNodeDir_GoesOnWithoutTheNote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	d := reopen(t, path)
	if err := os.Mkdir(d.termFile(), 0o700); err != nil { // so that no file can take its place
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	ended := make(chan struct{})
	close(ended)
	d.noteTerm(7)
	d.keepTerms(ended, zap.New(core))
	if logs.FilterMessage("highest term not noted on disk").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
	if err := os.Remove(d.termFile()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.termFile(), []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if again := reopen(t, path); again.highestTerm != 0 {
		t.Errorf("garbage is read as term %d", again.highestTerm)
	}
}
