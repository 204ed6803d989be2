package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.uber.org/zap"
)

// heedSignals returns a context that ends with the first SIGINT or SIGTERM. The
// second ends the process at once: the lease is left to lapse.
func heedSignals(ctx context.Context, log *zap.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for first := true; ; first = false {
			select {
			case sig := <-signals:
				if !first {
					log.Warn("ended by a second signal", zap.Stringer("signal", sig))
					os.Exit(exitFailed)
				}
				log.Info("stopping, a second signal ends at once", zap.Stringer("signal", sig))
				cancel()
			case <-done:
				return
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		group.Wait()
		cancel()
	}
}
