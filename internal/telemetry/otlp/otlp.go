// Package otlp sends the spans that package telemetry makes to the endpoint that the environment
// names, over OTLP/gRPC. It is apart from telemetry, so that a program that embeds a node and
// serves its metrics does not compile OpenTelemetry's exporters.
package otlp

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// OpenTelemetry's variables for the endpoint to which spans are sent.
const (
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// Wanted reports whether the environment names an endpoint for spans.
func Wanted() bool { return os.Getenv(envEndpoint) != "" || os.Getenv(envTracesEndpoint) != "" }

// Config configures [Open]. Logger is required.
type Config struct {
	Version, Node, Plane string
	// Logger logs spans that could not be sent.
	Logger *zap.Logger
}

// Sender makes spans and sends them. It implements [telemetry.Traces]. Close it when the node
// has ended.
type Sender struct{ provider *sdktrace.TracerProvider }

// Open returns a sender that is configured by OpenTelemetry's own variables.
func Open(ctx context.Context, cfg Config) (*Sender, error) {
	exporter, err := otlptracegrpc.New(ctx)
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
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: exporter, log: cfg.Logger}),
		sdktrace.WithResource(who),
	)
	return &Sender{provider: provider}, nil
}

// Close sends the remaining spans until ctx ends.
func (s *Sender) Close(ctx context.Context) error { return s.provider.Shutdown(ctx) }

// Tracer makes the spans of telemetry.
func (s *Sender) Tracer() trace.Tracer { return s.provider.Tracer(telemetry.Scope) }

// Handler returns the API handler, with requests traced.
func (s *Sender) Handler(api http.Handler) http.Handler {
	return otelhttp.NewHandler(api, "", append(s.options(), otelhttp.WithFilter(traced))...)
}

// Transport returns a transport that passes the trace on.
func (s *Sender) Transport(direct http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(direct, s.options()...)
}

// traced excludes requests that are made all the time and streams that do not end.
func traced(r *http.Request) bool {
	switch r.URL.Path {
	case wire.PathLive, wire.PathReady, wire.PathMetrics, wire.PathWatch:
		return false
	default:
		return !strings.HasPrefix(r.URL.Path, wire.PathRole)
	}
}

// options make otelhttp use these spans and no global state.
func (s *Sender) options() []otelhttp.Option {
	return []otelhttp.Option{
		otelhttp.WithTracerProvider(s.provider),
		otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			if r.Pattern != "" {
				return r.Pattern
			}
			return telemetry.KnownMethod(r.Method)
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
