package main

import (
	"context"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// lastSpans is how long the last spans may take, so that a collector that is away
// does not hold up a stop.
const lastSpans = time.Second

// openTelemetry makes what the node tells Prometheus, and OpenTelemetry where the
// environment says so.
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
	d.later(func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		if err := d.telemetry.Close(last); err != nil {
			d.log.Warn("last traces not sent", zap.Error(err))
		}
		return nil
	})
	return nil
}

// sourceRevision is the revision of the source as the build recorded it, if it did.
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
