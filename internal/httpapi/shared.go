package httpapi

import (
	"context"
	"sync/atomic"
)

// shared asks one question for many who ask it at the same time. Each gets an answer that
// was asked for after it came, so it is as current as one of its own; but however many
// they are, one is asked for at a time.
type shared[T any] struct {
	turn  chan struct{} // holds a token while somebody has the turn, and the fields below
	asked atomic.Uint64 // how many have come
	begun uint64        // what that was when the last answer was asked for
	value T
	err   error
}

func newShared[T any]() *shared[T] {
	return &shared[T]{turn: make(chan struct{}, 1)}
}

// get returns an answer that ask gives, to this caller or another; or the cause of ctx,
// which ask goes by as well.
func (s *shared[T]) get(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	mine := s.asked.Add(1)
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if s.begun > mine {
		return s.value, s.err
	}
	begun := s.asked.Add(1)
	value, err := ask(ctx)
	if ctx.Err() == nil { // or the others would be told that this caller has left
		s.begun, s.value, s.err = begun, value, err
	}
	return value, err
}
