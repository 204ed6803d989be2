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
	// diskWithin is how long a node on an external store waits for its own disk, which it
	// does not need.
	diskWithin = 3 * time.Second
	// noteAgain is how soon a note that could not be written is tried again.
	noteAgain = 10 * time.Second
	// noteWithin is how long a node that is about to join waits for its lease to be
	// noted. A process that is killed right after it has joined is followed at once by the
	// next one if that knows the lease.
	noteWithin = 250 * time.Millisecond
)

// nodeDir is what a node keeps of itself on disk: a lock, the lease it last held,
// and the highest term it has seen. A process that holds the lock knows that the
// one before it is dead, and need not wait for that one's lease to lapse. Terms
// rise above the highest one even where the store was restored from a backup.
//
// The notes are a convenience: nobody waits for them for long, and a node on an external
// store goes on without.
type nodeDir struct {
	path        string
	lock        *filelock.Lock // nil: the directory cannot be used
	place       string         // where this directory is, on this machine since it was started
	lastLease   int64          // 0: none
	highestTerm int64          // 0: none
	leases      chan leaseNote // holds the newest one that is not yet on disk
	terms       chan int64     // likewise

	trouble atomic.Pointer[string]    // what is wrong; nil: nothing
	began   atomic.Pointer[time.Time] // when the write under way began; nil: none is
	write   func(path string, data []byte) error
}

func newNodeDir(path string) *nodeDir {
	return &nodeDir{
		path: path, leases: make(chan leaseNote, 1), terms: make(chan int64, 1),
		write: func(path string, data []byte) error { return renameio.WriteFile(path, data, 0o600) },
	}
}

// openDir takes the directory of a node, which it makes if it is not there. It waits for
// the disk until ctx ends.
func openDir(ctx context.Context, path string) (*nodeDir, error) {
	return within(ctx, func() (*nodeDir, error) {
		d := newNodeDir(path)
		return d, d.open()
	})
}

// within returns what do does, or the cause of ctx while that still waits for a disk:
// then it is left behind.
func within[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() { // nothing ends a call that hangs in the kernel, but the process's end
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

// unusable reports whether err is of a disk that cannot be used, and of nothing that is
// wrong with how it was named.
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

// placeOf tells a file of this machine, since it was started, from a copy of it: one that
// was made with its directory, or with the whole machine.
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

// readLease reads the note of the last lease. One that was made elsewhere counts for
// nothing: whoever holds the lock of a copy knows nothing of the process that holds the
// lease. It lapses, if it is a dead one's.
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

// parseNote reads a number. A note that says nothing is as good as none: a lease that is
// not known lapses, and the store knows the terms as well.
func parseNote(text string, base int) int64 {
	number, _ := strconv.ParseInt(text, base, 64)
	return max(number, 0)
}

func (d *nodeDir) leaseFile() string { return filepath.Join(d.path, "lease") }

func (d *nodeDir) termFile() string { return filepath.Join(d.path, "term") }

// spool is where large things are kept for a while: the system's own place for that
// (empty) where the directory cannot be used.
func (d *nodeDir) spool() string {
	if d.lock == nil {
		return ""
	}
	return d.path
}

// leaseNote is a lease to be noted.
type leaseNote struct {
	lease int64
	tried chan struct{} // closed when it was written, or could not be
}

// noteLease has keep keep the lease for the next process. It waits for that a moment, and
// not at all for a disk that is known to be in trouble: its caller is about to join.
func (d *nodeDir) noteLease(lease int64) {
	n := leaseNote{lease, make(chan struct{})}
	newest(d.leases, n)
	if d.lock == nil || d.Trouble() != "" {
		return
	}
	select {
	case <-n.tried:
	case <-time.After(noteWithin):
	}
}

// noteTerm has keep keep the highest term. It does not wait: its caller watches the plane.
func (d *nodeDir) noteTerm(term int64) { newest(d.terms, term) }

// newest puts v in the place of what waits in c. Nobody else sends.
func newest[T any](c chan T, v T) {
	select {
	case <-c: // overtaken
	default:
	}
	c <- v
}

// keep writes what it is told to note until ended is closed, and then what is left. A
// disk that hangs then is left behind.
func (d *nodeDir) keep(ended <-chan struct{}, log *zap.Logger) {
	if d.lock == nil {
		return // what is noted goes nowhere
	}
	var keeping sync.WaitGroup
	keeping.Go(func() { d.keepUntil(ended, log) })
	<-ended
	_ = d.soon(func() error { keeping.Wait(); return nil })
}

// soon does what the end of a process does with its disk, and waits a moment for it.
func (d *nodeDir) soon(do func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), diskWithin/3)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, do() })
	if ctx.Err() != nil {
		return nil // the kernel does it with the end of the process
	}
	return err
}

// keepUntil writes the newest notes, and again what could not be written.
func (d *nodeDir) keepUntil(ended <-chan struct{}, log *zap.Logger) {
	again := time.NewTicker(noteAgain)
	defer again.Stop()
	var lease leaseNote
	var term int64 // they are yet to be written
	for last := false; !last; {
		select {
		case lease = <-d.leases:
		case term = <-d.terms:
		case <-again.C:
		case <-ended:
			last = true
			lease, term = left(d.leases, lease), left(d.terms, term)
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
		d.tell(errors.Join(errLease, errTerm), log)
	}
}

// left is what waits in c; v if nothing does.
func left[T any](c chan T, v T) T {
	select {
	case v = <-c:
	default:
	}
	return v
}

// put writes a note.
func (d *nodeDir) put(path, note string) error {
	began := time.Now()
	d.began.Store(&began)
	defer d.began.Store(nil)
	return d.write(path, []byte(note))
}

// tell says when notes begin to be lost, and when they are kept again.
func (d *nodeDir) tell(err error, log *zap.Logger) {
	before := d.trouble.Load()
	switch {
	case err != nil:
		d.is(fmt.Errorf("data directory: notes are not written: %w", err))
		if before == nil {
			log.Warn("notes not written to the data directory, retrying", zap.Error(err))
		}
	case before != nil:
		d.trouble.Store(nil)
		log.Info("notes are written to the data directory again")
	}
}

// is notes what is wrong with the directory.
func (d *nodeDir) is(wrong error) {
	text := wrong.Error()
	d.trouble.Store(&text)
}

// Trouble tells what is wrong with the directory; empty if nothing is. It never waits.
func (d *nodeDir) Trouble() string {
	if began := d.began.Load(); began != nil && time.Since(*began) > diskWithin {
		return "data directory: the disk does not answer"
	}
	if t := d.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// Close gives the directory up.
func (d *nodeDir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.soon(d.lock.Release)
}
