// Progress bars, and how sizes and counts are printed.

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// bar shows the progress of long work on a terminal; elsewhere it shows nothing.
type bar struct {
	to    io.Writer // nil shows nothing
	what  string
	unit  func(int64) string
	total int64 // 0: not known

	mu    sync.Mutex // guards the fields below: an HTTP client may go on reading a body after the answer has come
	done  int64
	shown time.Time
	over  bool
}

// showEvery is how often a bar is redrawn.
const showEvery = 100 * time.Millisecond

func newBar(to io.Writer, what string, total int64, unit func(int64) string) *bar {
	b := &bar{what: what, total: total, unit: unit}
	if isTerminal(to) {
		b.to = to
	}
	return b
}

// add records progress.
func (b *bar) add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
	if b.to == nil || b.over || time.Since(b.shown) < showEvery {
		return
	}
	b.shown = time.Now()
	fmt.Fprintf(b.to, "\r\x1b[K%s %s", b.what, b.text())
}

func (b *bar) text() string {
	if b.total <= 0 {
		return b.unit(b.done)
	}
	return fmt.Sprintf("%s of %s", gauge(b.done, b.total), b.unit(b.total))
}

// close removes the bar; the command then prints the result.
func (b *bar) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.to != nil && !b.over && !b.shown.IsZero() {
		fmt.Fprint(b.to, "\r\x1b[K")
	}
	b.over = true
}

// gauge draws part as a share of whole.
func gauge(part, whole int64) string {
	const width = 20
	part = min(max(part, 0), whole)
	full := int(part * width / whole)
	return fmt.Sprintf("[%s%s] %d%%", strings.Repeat("#", full), strings.Repeat(".", width-full), part*100/whole)
}

// size formats a number of bytes.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}

// count formats a number of mementos.
func count(n int64) string { return fmt.Sprintf("%d mementos", n) }
