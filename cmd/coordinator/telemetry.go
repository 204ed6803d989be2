// Sets up metrics and traces of a node.

package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/telemetry"
	"github.com/coordinator-ha/coordinator/internal/telemetry/otlp"
)

// traceFlushTimeout is how long sending the last traces may take, so that an unreachable
// collector does not hold up a stop.
const traceFlushTimeout = time.Second

// openTelemetry sets up metrics, and traces if the environment asks for them.
func (d *daemon) openTelemetry(ctx context.Context) error {
	cfg := telemetry.Config{LinesLost: d.logged.lines.Lost}
	if otlp.Wanted() {
		sender, err := otlp.Open(ctx, otlp.Config{Version: version(), Node: d.cfg.nodeID, Plane: d.cfg.plane, Logger: d.log})
		if err != nil {
			return usageError{err}
		}
		d.log.Info("traces are sent")
		d.onClose(func() error {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlushTimeout)
			defer cancel()
			if err := sender.Close(last); err != nil {
				d.log.Warn("last traces could not be sent", zap.Error(err))
			}
			return nil
		})
		cfg.Traces = sender
	}
	d.telemetry = telemetry.New(cfg)
	return nil
}
