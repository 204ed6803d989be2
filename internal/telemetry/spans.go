// Sends traces over OTLP.

package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/coordinator-ha/coordinator"

// OpenTelemetry's variables for the endpoint to which spans are sent.
const (
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// Traced reports whether the environment names an endpoint for spans.
func Traced() bool { return os.Getenv(envEndpoint) != "" || os.Getenv(envTracesEndpoint) != "" }

// newSpans sends spans over OTLP/gRPC, configured by OpenTelemetry's own variables.
type spans struct{ provider *sdktrace.TracerProvider }

func newSpans(ctx context.Context, cfg *Config) (*spans, error) {
	sender, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces to the endpoint of %s: %w", envEndpoint, err)
	}
	who, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "coordinator"),
		attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", cfg.Node),
		attribute.String("coordinator.plane", cfg.Plane),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("describe this node in traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: sender, log: cfg.Logger}),
		sdktrace.WithResource(who),
	)
	return &spans{provider: provider}, nil
}

// options make otelhttp use these spans and no global state.
func (s *spans) options() []otelhttp.Option {
	return []otelhttp.Option{
		otelhttp.WithTracerProvider(s.provider),
		otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			if r.Pattern != "" {
				return r.Pattern
			}
			return knownMethod(r.Method)
		}),
	}
}

// loggingExporter is an exporter that logs failures: the SDK would report them to a global
// handler only.
type loggingExporter struct {
	sdktrace.SpanExporter
	log    *zap.Logger
	failed atomic.Bool
}

// ExportSpans implements [sdktrace.SpanExporter]. It logs the first failure of a series as
// a warning, and the rest not at all.
func (s *loggingExporter) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, batch)
	level := zapcore.WarnLevel
	if s.failed.Swap(err != nil) {
		level = zapcore.DebugLevel
	}
	if err != nil {
		s.log.Log(level, "traces not sent", zap.Int("spans", len(batch)), zap.Error(err))
	}
	return nil
}

// end ends a span and records the error of the operation.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
