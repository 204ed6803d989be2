// Package retry paces attempts that are repeated until they succeed.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Pause is the growing time between two attempts. It must be used by one goroutine only.
type Pause struct{ grow *backoff.ExponentialBackOff }

// NewPause returns a pause that starts at 50 ms and grows to about most, with jitter, so
// that many clients that lost the same thing do not return at the same time.
func NewPause(most time.Duration) Pause {
	grow := backoff.NewExponentialBackOff()
	grow.InitialInterval = 50 * time.Millisecond
	grow.MaxInterval = most
	return Pause{grow}
}

// Next returns how long to wait before the next attempt.
func (p Pause) Next() time.Duration { return p.grow.NextBackOff() }

// Reset makes the next pause the shortest again, after a success.
func (p Pause) Reset() { p.grow.Reset() }

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
