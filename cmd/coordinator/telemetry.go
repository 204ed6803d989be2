// Sets up metrics and traces of a node.

package main

import (
	"context"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// traceFlushTimeout is how long sending the last traces may take, so that an unreachable
// collector does not hold up a stop.
const traceFlushTimeout = time.Second

// openTelemetry sets up metrics, and traces if the environment asks for them.
func (d *daemon) openTelemetry(ctx context.Context) error {
	traces := telemetry.Traced()
	var err error
	d.telemetry, err = telemetry.New(ctx, telemetry.Config{
		Version: version(), Revision: sourceRevision(), Node: d.cfg.nodeID, Plane: d.cfg.plane,
		Traces: traces, LinesLost: d.logged.lines.Lost, Logger: d.log,
	})
	if err != nil {
		return usageError{err}
	}
	if traces {
		d.log.Info("traces are sent")
	}
	d.onClose(func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlushTimeout)
		defer cancel()
		if err := d.telemetry.Close(last); err != nil {
			d.log.Warn("last traces could not be sent", zap.Error(err))
		}
		return nil
	})
	return nil
}

// sourceRevision is the source revision recorded by the build, if any.
func sourceRevision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
