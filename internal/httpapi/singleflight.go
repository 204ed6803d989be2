package httpapi

import (
	"context"
	"sync/atomic"
)

// singleflight asks one question for many who ask it at the same time. Each gets an answer that
// was asked for after it came, so it is as current as one of its own; but however many
// they are, one is asked for at a time.
type singleflight[T any] struct {
	token     chan struct{} // holds a token while somebody has the turn, and the fields below
	arrivals  atomic.Uint64 // how many have come
	startedAt uint64        // what that was when the last answer was asked for
	value     T
	err       error
}

func newSingleflight[T any]() *singleflight[T] {
	return &singleflight[T]{token: make(chan struct{}, 1)}
}

// get returns an answer that ask gives, to this caller or another; or the cause of ctx,
// which ask goes by as well.
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
	if ctx.Err() == nil { // or the others would be told that this caller has left
		f.startedAt, f.value, f.err = started, value, err
	}
	return value, err
}
