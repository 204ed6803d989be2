// This file lets requests that come at the same time share one call.

package httpapi

import (
	"context"
	"sync/atomic"
)

// singleflight lets concurrent callers share the result of one call. A caller never gets the
// result of a call that started before it came, so the result is as current as one of its own.
// At most one call runs at a time.
type singleflight[T any] struct {
	token     chan struct{} // holds a token while a caller uses the fields below
	arrivals  atomic.Uint64 // counts callers and calls in order
	startedAt uint64        // of the call that gave value and err
	value     T
	err       error
}

func newSingleflight[T any]() *singleflight[T] {
	return &singleflight[T]{token: make(chan struct{}, 1)}
}

// do returns the result of a call to fetch, by this caller or another, or the cause of ctx if
// that ends first. fetch has to honor ctx.
func (f *singleflight[T]) do(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	arrival := f.arrivals.Add(1)
	select {
	case f.token <- struct{}{}:
		defer func() { <-f.token }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if f.startedAt > arrival {
		return f.value, f.err
	}
	started := f.arrivals.Add(1)
	value, err := fetch(ctx)
	if ctx.Err() == nil { // otherwise the others would get this caller's cancellation
		f.startedAt, f.value, f.err = started, value, err
	}
	return value, err
}
