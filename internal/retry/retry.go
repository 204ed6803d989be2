// Package retry paces attempts that are repeated until they succeed.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff is the growing time between two attempts. It must be used by one goroutine only.
type Backoff struct{ grow *backoff.ExponentialBackOff }

// NewBackoff returns a pause that starts at 50 ms and grows to about most, with jitter, so
// that many clients that lost the same thing do not return at the same time.
func NewBackoff(most time.Duration) Backoff {
	grow := backoff.NewExponentialBackOff()
	grow.InitialInterval = 50 * time.Millisecond
	grow.MaxInterval = most
	return Backoff{grow}
}

// Next returns how long to wait before the next attempt.
func (p Backoff) Next() time.Duration { return p.grow.NextBackOff() }

// Reset makes the next pause the shortest again, after a success.
func (p Backoff) Reset() { p.grow.Reset() }

// Wait waits for d; if ctx ends first, it returns the cause of ctx.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
