package etcdstore

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newPause paces what is tried again until it works: 50 ms at first, with
// jitter, never more than 1 s.
func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = time.Second
	return pause
}

// wait blocks for d and returns the cause of ctx if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
