package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// stopLimit is how long after the first signal a process is there at most. Each part of
// a stop has a bound of its own, and all together take ten seconds; this is for what
// nobody has thought of.
const stopLimit = 15 * time.Second

// heedSignals returns a context that ends with the first SIGINT or SIGTERM. The
// second ends the process at once, and so does a stop that takes too long: the lease is
// left to lapse. A log whose reader has gone is no reason to end, nor is a terminal that
// has: hangup is called for SIGHUP, and must not block.
func heedSignals(ctx context.Context, log *zap.Logger, hangup func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// A write to standard error whose reader has gone kills a process that takes no
	// notice of this signal. It is not ignored: processes begun from here would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		var overdue <-chan time.Time
		for {
			select {
			case sig := <-signals:
				if overdue != nil {
					log.Warn("ended by a second signal", zap.Stringer("signal", sig))
					_ = log.Sync() // for a moment: nobody may be reading
					os.Exit(exitFailed)
				}
				log.Info("stopping, a second signal ends at once", zap.Stringer("signal", sig))
				overdue = time.After(stopLimit)
				cancel()
			case <-hangups:
				hangup()
			case <-overdue:
				log.Error("not stopped in time, ending at once", zap.Duration("limit", stopLimit))
				_ = log.Sync()
				os.Exit(exitFailed)
			case <-done:
				return
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		close(done)
		group.Wait()
		cancel()
	}
}
