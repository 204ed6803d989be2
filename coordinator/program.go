package coordinator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errProgramPanic is the error of a program that panicked.
var errProgramPanic = errors.New("program panicked")

// program is one call of [Config.Lead]. It runs beside the role loop, so that
// nothing it does delays the lease.
type program struct {
	cancel   context.CancelCauseFunc
	returned chan struct{} // closed when it has returned
	failed   chan struct{} // closed if it returned an error while it was wanted
	err      error         // why, once failed is closed
	stopped  bool          // the role loop has ended its context
}

// startProgram calls the program for the term now led.
func (l *loop) startProgram() {
	if l.cfg.Lead == nil {
		return
	}
	ctx, cancel := context.WithCancelCause(l.reign.Context())
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

// programRuns reports whether a program has not returned yet.
func (l *loop) programRuns() bool {
	if l.program == nil {
		return false
	}
	select {
	case <-l.program.returned:
		return false
	default:
		return true
	}
}

// stopProgram ends the program's context and waits for it to return.
func (l *loop) stopProgram(ctx context.Context, why error) error {
	if l.program == nil {
		return nil
	}
	l.program.cancel(why)
	l.program.stopped = true
	select {
	case <-l.program.returned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the program to return: %w", context.Cause(ctx))
	}
}
