package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/coordinator-ha/coordinator/internal/filelock"
)

// nodeDir is what a node keeps of itself on disk: a lock, and the lease it last
// held. A process that holds the lock knows that the one before it is dead, and
// need not wait for that one's lease to lapse.
type nodeDir struct {
	path      string
	lock      *filelock.Lock
	lastLease int64 // 0: none
}

// openDir takes the directory of a node, which it makes if it is not there.
func openDir(path string) (*nodeDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, usageError{fmt.Errorf("data directory: %w", err)}
	}
	lock, err := filelock.Take(filepath.Join(path, "lock"))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w: give this node another --node-id or --data-dir", path, err)
	}
	d := &nodeDir{path: path, lock: lock}
	text, err := os.ReadFile(d.leaseFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, errors.Join(usageError{fmt.Errorf("data directory: %w", err)}, lock.Release())
	default:
		// What cannot be read is as good as nothing: the lease then lapses.
		d.lastLease, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 16, 64)
	}
	return d, nil
}

func (d *nodeDir) leaseFile() string { return filepath.Join(d.path, "lease") }

// noteLease keeps the lease for the next process.
func (d *nodeDir) noteLease(lease int64) error {
	return renameio.WriteFile(d.leaseFile(), fmt.Appendf(nil, "%x\n", lease), 0o600)
}

// Close gives the directory up.
func (d *nodeDir) Close() error { return d.lock.Release() }
