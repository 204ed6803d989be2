// Package retry paces what is tried again until it works.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Pause is the growing time between two tries. It belongs to one goroutine.
type Pause struct{ grow *backoff.ExponentialBackOff }

// NewPause returns a pause of 50 ms at first that grows to about most, with
// jitter, so that many who lost the same thing do not come back for it together.
func NewPause(most time.Duration) Pause {
	grow := backoff.NewExponentialBackOff()
	grow.InitialInterval = 50 * time.Millisecond
	grow.MaxInterval = most
	return Pause{grow}
}

// Next returns how long to wait before the next try.
func (p Pause) Next() time.Duration { return p.grow.NextBackOff() }

// Reset makes the next pause the shortest again, after something has worked.
func (p Pause) Reset() { p.grow.Reset() }

// Wait blocks for d and returns the cause of ctx if that ends first.
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
