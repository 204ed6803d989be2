// How a process stops on signals.

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

// stopLimit is how long a process lives at most after the first signal. Each part of a stop
// has its own limit, ten seconds in all; this one is for the unforeseen.
const stopLimit = 15 * time.Second

// handleSignals returns a context that ends with the first SIGINT or SIGTERM. A second
// signal ends the process at once, and so does a stop that takes too long: the lease then
// lapses. The loss of the log's reader or of the terminal is no reason to end: SIGHUP calls
// hangup, which must not block.
func handleSignals(ctx context.Context, log *zap.Logger, requestReload func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// Without a handler for this signal, a write to standard error without a reader would
	// kill the process. The signal is not ignored, since child processes would inherit
	// that.
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
					_ = log.Sync() // briefly: nobody may be reading
					os.Exit(exitFailed)
				}
				log.Info("stopping, a second signal ends the process at once", zap.Stringer("signal", sig))
				overdue = time.After(stopLimit)
				cancel()
			case <-hangups:
				requestReload()
			case <-overdue:
				log.Error("not stopped in time, ending the process", zap.Duration("limit", stopLimit))
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
