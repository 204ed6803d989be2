// The node's directory on disk: its lock and its notes of lease and term.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/filelock"
)

const (
	// diskTimeout is how long a node on an external store waits for its own disk, which it
	// can do without.
	diskTimeout = 3 * time.Second
	// retryNotesEvery is how soon a note that could not be written is tried again.
	retryNotesEvery = 10 * time.Second
	// leaseNoteTimeout is how long a node that is about to join waits for its lease to be
	// noted. If the process is killed right after joining, the next process can take over
	// at once only if it knows that lease.
	leaseNoteTimeout = 250 * time.Millisecond
)

// nodeDir is what a node keeps on disk about itself: a lock, its last lease, and the
// highest term it has seen. A process that holds the lock knows that the process before it
// is dead, and need not wait for that one's lease to lapse. Terms rise above the highest
// one even if the store was restored from a backup.
//
// The notes are a convenience: nothing waits long for them, and a node on an external store
// runs without them.
type nodeDir struct {
	path        string
	lock        *filelock.Lock // nil: the directory cannot be used
	place       string         // identifies this directory on this machine since its last start
	lastLease   int64          // 0: none
	highestTerm int64          // 0: none
	leases      chan leaseNote // holds the newest lease that is not yet on disk
	terms       chan int64     // holds the newest term that is not yet on disk

	trouble atomic.Pointer[string]    // what is wrong; nil: nothing
	began   atomic.Pointer[time.Time] // when the write in progress began; nil: none
	write   func(path string, data []byte) error
}

func newNodeDir(path string) *nodeDir {
	return &nodeDir{
		path: path, leases: make(chan leaseNote, 1), terms: make(chan int64, 1),
		write: func(path string, data []byte) error { return renameio.WriteFile(path, data, 0o600) },
	}
}

// openDir opens the directory of a node, and creates it if it is missing. It waits for the
// disk until ctx ends.
func openDir(ctx context.Context, path string) (*nodeDir, error) {
	return within(ctx, func() (*nodeDir, error) {
		d := newNodeDir(path)
		return d, d.open()
	})
}

// within returns the result of do, or the cause of ctx if do still waits for a disk then;
// the call is then abandoned.
func within[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() { // a call that hangs in the kernel ends only with the process
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("the disk does not answer: %w", context.Cause(ctx))
	}
}

// unusable reports whether err means that the disk cannot be used, as opposed to a wrong
// path.
func unusable(err error) bool {
	return slices.ContainsFunc([]error{
		context.DeadlineExceeded, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ESTALE,
		syscall.ETIMEDOUT, syscall.EACCES, syscall.EPERM, syscall.ENOLCK, syscall.ENOTSUP,
	}, func(one error) bool { return errors.Is(err, one) })
}

func (d *nodeDir) open() error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return usageError{fmt.Errorf("data directory: %w", err)}
	}
	lock, err := filelock.Take(filepath.Join(d.path, "lock"))
	if err != nil {
		return fmt.Errorf("data directory %s: %w: give this node another --node-id or --data-dir", d.path, err)
	}
	var errPlace, errLease, errTerm error
	d.place, errPlace = placeOf(filepath.Join(d.path, "lock"))
	d.lastLease, errLease = readLease(d.leaseFile(), d.place)
	d.highestTerm, errTerm = readTerm(d.termFile())
	if err := errors.Join(errPlace, errLease, errTerm); err != nil {
		return errors.Join(usageError{fmt.Errorf("data directory: %w", err)}, lock.Release())
	}
	d.lock = lock
	return nil
}

// placeOf identifies a file on this machine since its last start. A copy of the file
// differs, whether its directory or the whole machine was copied.
func placeOf(path string) (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = uint64(st.Ino)
	}
	return fmt.Sprintf("%s/%d", boot, inode), nil
}

// readLease reads the note of the last lease. A note that was written elsewhere is ignored:
// the lock of a copied directory says nothing about the process that holds the lease. If
// that process is dead, its lease lapses.
func readLease(path, place string) (int64, error) {
	text, err := readNote(path)
	if err != nil {
		return 0, err
	}
	number, where, _ := strings.Cut(text, " ")
	if where != place {
		return 0, nil
	}
	return parseNote(number, 16), nil
}

func readTerm(path string) (int64, error) {
	text, err := readNote(path)
	return parseNote(text, 10), err
}

func readNote(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// parseNote reads a number. A broken note counts as none: an unknown lease lapses, and the
// store knows the terms too.
func parseNote(text string, base int) int64 {
	number, _ := strconv.ParseInt(text, base, 64)
	return max(number, 0)
}

func (d *nodeDir) leaseFile() string { return filepath.Join(d.path, "lease") }

func (d *nodeDir) termFile() string { return filepath.Join(d.path, "term") }

// spool is a directory for large temporary files; empty, which means the system's own, if
// the node's directory cannot be used.
func (d *nodeDir) spool() string {
	if d.lock == nil {
		return ""
	}
	return d.path
}

// leaseNote is a lease that is to be noted.
type leaseNote struct {
	lease int64
	tried chan struct{} // closed once writing it was tried
}

// noteLease notes the lease for the next process. It waits briefly for the write, but not
// if the disk is known to be in trouble: the caller is about to join.
func (d *nodeDir) noteLease(lease int64) {
	n := leaseNote{lease, make(chan struct{})}
	replace(d.leases, n)
	if d.lock == nil || d.Trouble() != "" {
		return
	}
	select {
	case <-n.tried:
	case <-time.After(leaseNoteTimeout):
	}
}

// noteTerm notes the highest term. It does not wait: the caller watches the plane.
func (d *nodeDir) noteTerm(term int64) { replace(d.terms, term) }

// replace puts v into c in place of a value that waits there. There is one sender only.
func replace[T any](c chan T, v T) {
	select {
	case <-c: // replaced by v
	default:
	}
	c <- v
}

// run writes notes until ended is closed, and then those that are left. A disk that hangs
// then is given up.
func (d *nodeDir) run(ended <-chan struct{}, log *zap.Logger) {
	if d.lock == nil {
		return // notes are not kept
	}
	var keeping sync.WaitGroup
	keeping.Go(func() { d.writeNotes(ended, log) })
	<-ended
	_ = d.atEnd(func() error { keeping.Wait(); return nil })
}

// atEnd does disk work at the end of the process and waits only briefly for it.
func (d *nodeDir) atEnd(do func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), diskTimeout/3)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, do() })
	if ctx.Err() != nil {
		return nil // the kernel does it when the process ends
	}
	return err
}

// writeNotes writes the newest notes and retries those that failed.
func (d *nodeDir) writeNotes(ended <-chan struct{}, log *zap.Logger) {
	again := time.NewTicker(retryNotesEvery)
	defer again.Stop()
	var lease leaseNote
	var term int64 // not written yet
	for last := false; !last; {
		select {
		case lease = <-d.leases:
		case term = <-d.terms:
		case <-again.C:
		case <-ended:
			last = true
			lease, term = pendingIn(d.leases, lease), pendingIn(d.terms, term)
		}
		var errLease, errTerm error
		if lease.lease != 0 {
			errLease = d.put(d.leaseFile(), fmt.Sprintf("%x %s\n", lease.lease, d.place))
		}
		if term != 0 {
			errTerm = d.put(d.termFile(), fmt.Sprintf("%d\n", term))
		}
		if lease.tried != nil {
			close(lease.tried)
			lease.tried = nil
		}
		if errLease == nil {
			lease.lease = 0
		}
		if errTerm == nil {
			term = 0
		}
		d.report(errors.Join(errLease, errTerm), log)
	}
}

// pendingIn returns the value that waits in c, or v if there is none.
func pendingIn[T any](c chan T, v T) T {
	select {
	case v = <-c:
	default:
	}
	return v
}

// put writes one note.
func (d *nodeDir) put(path, note string) error {
	began := time.Now()
	d.began.Store(&began)
	defer d.began.Store(nil)
	return d.write(path, []byte(note))
}

// report logs when notes begin to fail and when they are written again.
func (d *nodeDir) report(err error, log *zap.Logger) {
	before := d.trouble.Load()
	switch {
	case err != nil:
		d.setTrouble(fmt.Errorf("data directory: notes are not written: %w", err))
		if before == nil {
			log.Warn("notes not written to the data directory, retrying", zap.Error(err))
		}
	case before != nil:
		d.trouble.Store(nil)
		log.Info("notes are written to the data directory again")
	}
}

// setTrouble records what is wrong with the directory.
func (d *nodeDir) setTrouble(wrong error) {
	text := wrong.Error()
	d.trouble.Store(&text)
}

// Trouble says what is wrong with the directory; it is empty if nothing is. It never waits.
func (d *nodeDir) Trouble() string {
	if began := d.began.Load(); began != nil && time.Since(*began) > diskTimeout {
		return "data directory: the disk does not answer"
	}
	if t := d.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// Close releases the directory.
func (d *nodeDir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.atEnd(d.lock.Release)
}
