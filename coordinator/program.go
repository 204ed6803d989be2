package coordinator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// This file holds the calls of the program. The loop starts and ends them; the program
// itself runs on a goroutine of its own, so that nothing it does delays the lease.

// errProgramPanic is the error of a program that panicked.
var errProgramPanic = errors.New("program panicked")

// program is one call of [Config.Lead]. A nil program is one that never ran.
type program struct {
	cancel   context.CancelCauseFunc
	returned chan struct{} // closed when it has returned
	failed   chan struct{} // closed if it returned an error while it was wanted
	err      error         // why, once failed is closed
	stopped  bool          // the loop has ended its context
}

// startProgram calls the program for the term that the node now leads, unless the term is
// over by now: the loop may have hung, and is about to find out.
func (l *loop) startProgram() {
	if l.cfg.Lead == nil || l.leadership.Context().Err() != nil || l.presence.lease.Remaining() <= 0 {
		return
	}
	ctx, cancel := context.WithCancelCause(l.leadership.Context())
	p := &program{cancel: cancel, returned: make(chan struct{}), failed: make(chan struct{})}
	l.program = p
	leading := l.node.leading.Load()
	// Not one of l.group: a program that does not heed its context must not keep
	// the node from stopping. Those who need it gone wait for returned.
	go func() {
		err := callProgram(ctx, l.cfg.Lead, leading)
		if err != nil && ctx.Err() == nil {
			p.err = err
			close(p.failed)
		}
		close(p.returned)
		l.cache.wake()
	}()
}

func callProgram(ctx context.Context, lead func(context.Context, *Leader) error, l *Leader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errProgramPanic, p, debug.Stack())
		}
	}()
	return lead(ctx, l)
}

// running reports whether the program has not returned yet.
func (p *program) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.returned:
		return false
	default:
		return true
	}
}

// cancelFor ends the program's context and does not wait for it.
func (p *program) cancelFor(why error) {
	if p != nil {
		p.cancel(why)
	}
}

// end ends the program's context and blocks until it has returned or ctx ends.
func (p *program) end(ctx context.Context, why error) error {
	if p == nil {
		return nil
	}
	p.cancel(why)
	p.stopped = true
	select {
	case <-p.returned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the program to return: %w", context.Cause(ctx))
	}
}
