// Package logbuffer keeps a log that nobody reads from blocking those who write to it.
//
// A write does not return if it goes to a full pipe, to a stopped terminal or to a file on
// a server that hangs. A [Buffer] keeps lines in memory instead, and a goroutine of its own
// writes them out. When it is full, lines are dropped and counted, and the log says how
// many as soon as it is read again.
package logbuffer

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// Size is how many bytes may wait; as many again may be in the process of being
	// written.
	Size = 1 << 20
	// flushTimeout is how long the end of the process, or a message that ends it, waits for
	// earlier lines to be written.
	flushTimeout = 500 * time.Millisecond
)

// ErrUnread is returned when waiting lines were not written in time.
var ErrUnread = errors.New("the log is not read")

// Buffer is a [zapcore.WriteSyncer] that never waits for its reader. Its methods may be
// called from any goroutine.
type Buffer struct {
	out    io.Writer
	notice func(lost int64) []byte

	pending chan struct{}  // holds a token when there is something to write
	end     chan struct{}  // closed by Close
	group   sync.WaitGroup // the goroutine that writes

	mu         sync.Mutex // guards the fields below
	waiting    []byte
	busy       bool          // lines are being written
	flushed    chan struct{} // closed when they have been written
	unreported int64         // lines dropped and not yet reported
	lost       int64         // lines dropped in all
}

// New returns a buffer in front of out. notice formats the line that says how many lines
// were dropped. Close the buffer when nothing is logged any more.
func New(out io.Writer, notice func(lost int64) []byte) *Buffer {
	b := &Buffer{
		out: out, notice: notice,
		pending: make(chan struct{}, 1), end: make(chan struct{}), flushed: make(chan struct{}),
	}
	b.group.Go(b.run)
	return b
}

// Write takes whole lines, or drops and counts them. It never waits and never fails.
func (b *Buffer) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting)+len(lines) > Size {
		b.dropLocked(lines)
		return len(lines), nil
	}
	b.waiting = append(b.waiting, lines...)
	b.wake()
	return len(lines), nil
}

func (b *Buffer) dropLocked(lines []byte) {
	n := int64(bytes.Count(lines, []byte{'\n'}))
	b.unreported += n
	b.lost += n
}

func (b *Buffer) wake() {
	select {
	case b.pending <- struct{}{}:
	default:
	}
}

// Lost returns how many lines were dropped in all.
func (b *Buffer) Lost() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// Losing returns how many lines were dropped since the log was last read; 0 while it is
// being read.
func (b *Buffer) Losing() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unreported
}

// Sync waits at most half a second until everything is written, and then returns
// [ErrUnread]. zap calls it for a message that ends the process.
func (b *Buffer) Sync() error {
	limit := time.NewTimer(flushTimeout)
	defer limit.Stop()
	for {
		b.mu.Lock()
		idle, flushed := len(b.waiting) == 0 && !b.busy, b.flushed
		b.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-flushed:
		case <-limit.C:
			return ErrUnread
		}
	}
}

// Close writes what waits, as Sync does, and ends the buffer. A write that hangs is
// abandoned: it ends with its reader or with the process.
func (b *Buffer) Close() error {
	if err := b.Sync(); err != nil {
		return err
	}
	close(b.end)
	b.group.Wait()
	return nil
}

// run writes lines until the buffer is closed.
func (b *Buffer) run() {
	var spare []byte
	for {
		select {
		case <-b.pending:
			spare = b.flush(spare)
		case <-b.end:
			return
		}
	}
}

// flush writes what waits, and then how many lines were dropped meanwhile. New lines are
// collected in spare; flush returns the buffer that they used before.
func (b *Buffer) flush(spare []byte) []byte {
	b.mu.Lock()
	lines := b.waiting
	b.waiting, b.busy = spare[:0], true
	b.mu.Unlock()
	written, err := b.out.Write(lines)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.dropLocked(lines[min(max(written, 0), len(lines)):])
	}
	// All dropped lines came after those that are written now, and before those that wait.
	if err == nil && b.unreported > 0 {
		b.waiting = append(b.notice(b.unreported), b.waiting...)
		b.unreported = 0
	}
	if len(b.waiting) > 0 {
		b.wake()
	}
	b.busy = false
	close(b.flushed)
	b.flushed = make(chan struct{})
	return lines
}
