package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stall ends a context when nothing has moved for a time. It is what a limit of time
// means for work that may take long as a whole.
type stall struct {
	limit time.Duration
	timer *time.Timer
}

// stalling returns a context that ends when moved was not called for a time, and a func
// to be called in the end.
func stalling(ctx context.Context, limit time.Duration) (context.Context, *stall, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing has moved for %s", limit)) })
	return ctx, &stall{limit: limit, timer: timer}, func() { timer.Stop(); cancel(nil) }
}

// moved begins the time anew.
func (s *stall) moved() { s.timer.Reset(s.limit) }

// moving is a reader that tells of each part that is read, and how long it is. It
// remembers why nothing more came, where that was not the end.
type moving struct {
	from   io.Reader
	moved  func(n int)
	failed error
}

// Read implements [io.Reader].
func (m *moving) Read(part []byte) (int, error) {
	n, err := m.from.Read(part)
	m.moved(n)
	if err != nil && !errors.Is(err, io.EOF) {
		m.failed = err
	}
	return n, err
}
