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
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/filelock"
)

// nodeDir is what a node keeps of itself on disk: a lock, the lease it last held,
// and the highest term it has seen. A process that holds the lock knows that the
// one before it is dead, and need not wait for that one's lease to lapse. Terms
// rise above the highest one even where the store was restored from a backup.
type nodeDir struct {
	path        string
	lock        *filelock.Lock
	lastLease   int64      // 0: none
	highestTerm int64      // 0: none
	terms       chan int64 // holds the newest one that is not yet on disk
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
	d := &nodeDir{path: path, lock: lock, terms: make(chan int64, 1)}
	var errLease, errTerm error
	d.lastLease, errLease = readNumber(d.leaseFile(), 16)
	d.highestTerm, errTerm = readNumber(d.termFile(), 10)
	if err := errors.Join(errLease, errTerm); err != nil {
		return nil, errors.Join(usageError{fmt.Errorf("data directory: %w", err)}, lock.Release())
	}
	return d, nil
}

// readNumber reads what a file notes. A note that says nothing is as good as none:
// a lease that is not known lapses, and the store knows the terms as well.
func readNumber(path string, base int) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	number, _ := strconv.ParseInt(strings.TrimSpace(string(text)), base, 64)
	return max(number, 0), nil
}

func (d *nodeDir) leaseFile() string { return filepath.Join(d.path, "lease") }

func (d *nodeDir) termFile() string { return filepath.Join(d.path, "term") }

// noteLease keeps the lease for the next process.
func (d *nodeDir) noteLease(lease int64) error {
	return renameio.WriteFile(d.leaseFile(), fmt.Appendf(nil, "%x\n", lease), 0o600)
}

// noteTerm has keepTerms keep the highest term. It does not wait for the disk: its
// caller is the one that watches the plane.
func (d *nodeDir) noteTerm(term int64) {
	select {
	case <-d.terms: // overtaken
	default:
	}
	d.terms <- term // there is room: nobody else sends
}

// keepTerms writes what noteTerm is told until ended is closed, and then what is
// left. A node goes on without: the note counts only after a restored backup.
func (d *nodeDir) keepTerms(ended <-chan struct{}, log *zap.Logger) {
	write := func(term int64) {
		if err := renameio.WriteFile(d.termFile(), fmt.Appendf(nil, "%d\n", term), 0o600); err != nil {
			log.Warn("highest term not noted on disk", zap.Int64("term", term), zap.Error(err))
		}
	}
	for {
		select {
		case term := <-d.terms:
			write(term)
		case <-ended:
			select {
			case term := <-d.terms:
				write(term)
			default:
			}
			return
		}
	}
}

// Close gives the directory up.
func (d *nodeDir) Close() error { return d.lock.Release() }
