// Package logbuffer keeps a log that nobody reads from holding up those who write it.
//
// A write to a pipe that is full, to a terminal that was stopped or to a file on a
// server that hangs does not return. A [Buffer] takes lines in memory instead, and one
// goroutine of its own writes them out. When it is full, lines are lost and counted,
// and the log says how many as soon as it is read again.
package logbuffer

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// Size is how many bytes wait at most; as many may be on their way out.
	Size = 1 << 20
	// flushWithin is for how long the end of a process, or a message that ends it, waits
	// for what was logged before.
	flushWithin = 500 * time.Millisecond
)

// ErrUnread is returned when lines that wait were not written in time.
var ErrUnread = errors.New("the log is not read")

// Buffer is a [zapcore.WriteSyncer] that never waits for its reader. Its methods may be
// called from any goroutine.
type Buffer struct {
	out    io.Writer
	notice func(lost int64) []byte

	more  chan struct{}  // holds a token when there is something to write
	end   chan struct{}  // closed by Close
	group sync.WaitGroup // the goroutine that writes

	mu      sync.Mutex // guards the fields below
	waiting []byte
	busy    bool          // lines are on their way out
	moved   chan struct{} // closed when they have come to their end
	untold  int64         // lines lost and not told of yet
	lost    int64         // lines ever lost
}

// New returns a buffer before out. notice makes the line that tells how many were lost.
// Close it when nothing is logged any more.
func New(out io.Writer, notice func(lost int64) []byte) *Buffer {
	b := &Buffer{
		out: out, notice: notice,
		more: make(chan struct{}, 1), end: make(chan struct{}), moved: make(chan struct{}),
	}
	b.group.Go(b.run)
	return b
}

// Write takes whole lines, or loses and counts them. It never waits and never fails.
func (b *Buffer) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting)+len(lines) > Size {
		b.loseLocked(lines)
		return len(lines), nil
	}
	b.waiting = append(b.waiting, lines...)
	b.wake()
	return len(lines), nil
}

func (b *Buffer) loseLocked(lines []byte) {
	n := int64(bytes.Count(lines, []byte{'\n'}))
	b.untold += n
	b.lost += n
}

func (b *Buffer) wake() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// Lost counts the lines that were ever lost.
func (b *Buffer) Lost() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// Losing counts the lines that were lost since the log was last read; 0 while it is.
func (b *Buffer) Losing() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.untold
}

// Sync waits until all that was taken is written, for half a second at most, and then
// returns [ErrUnread]. zap calls it for a message that ends the process.
func (b *Buffer) Sync() error {
	limit := time.NewTimer(flushWithin)
	defer limit.Stop()
	for {
		b.mu.Lock()
		idle, moved := len(b.waiting) == 0 && !b.busy, b.moved
		b.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-moved:
		case <-limit.C:
			return ErrUnread
		}
	}
}

// Close writes what waits, as Sync does, and ends the buffer. A write that hangs is left
// behind: it ends with its reader, or with the process.
func (b *Buffer) Close() error {
	if err := b.Sync(); err != nil {
		return err
	}
	close(b.end)
	b.group.Wait()
	return nil
}

// run writes lines out until the buffer is closed.
func (b *Buffer) run() {
	var spare []byte
	for {
		select {
		case <-b.more:
			spare = b.pass(spare)
		case <-b.end:
			return
		}
	}
}

// pass writes what waits, and then how much was lost meanwhile. It leaves lines to wait
// in spare, and returns what they waited in.
func (b *Buffer) pass(spare []byte) []byte {
	b.mu.Lock()
	lines := b.waiting
	b.waiting, b.busy = spare[:0], true
	b.mu.Unlock()
	written, err := b.out.Write(lines)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.loseLocked(lines[min(max(written, 0), len(lines)):])
	}
	// All lines that were lost came after those that are written now, and before those
	// that wait.
	if err == nil && b.untold > 0 {
		b.waiting = append(b.notice(b.untold), b.waiting...)
		b.untold = 0
	}
	if len(b.waiting) > 0 {
		b.wake()
	}
	b.busy = false
	close(b.moved)
	b.moved = make(chan struct{})
	return lines
}
