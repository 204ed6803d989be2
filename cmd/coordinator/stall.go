// A time limit on lack of progress, for work that may take long.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stallTimer ends a context when there was no progress for a time. It is what a timeout
// means for work that may take long as a whole.
type stallTimer struct {
	limit time.Duration
	timer *time.Timer
}

// withStallTimer returns a context that ends when progress was not called for a time, and a
// func that releases it.
func withStallTimer(ctx context.Context, limit time.Duration) (context.Context, *stallTimer, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no progress for %s", limit)) })
	return ctx, &stallTimer{limit: limit, timer: timer}, func() { timer.Stop(); cancel(nil) }
}

// progress restarts the time.
func (s *stallTimer) progress() { s.timer.Reset(s.limit) }

// progressReader is a reader that reports the length of each read. It remembers an error
// other than the end.
type progressReader struct {
	from     io.Reader
	progress func(n int)
	failed   error
}

// Read implements [io.Reader].
func (m *progressReader) Read(part []byte) (int, error) {
	n, err := m.from.Read(part)
	m.progress(n)
	if err != nil && !errors.Is(err, io.EOF) {
		m.failed = err
	}
	return n, err
}
