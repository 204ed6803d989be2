// Sends traces over OTLP.

package telemetry

import (
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the instrumentation scope of the spans.
const Scope = "github.com/coordinator-ha/coordinator"

// Traces makes spans and has them sent. Package otlp implements it.
type Traces interface {
	Tracer() trace.Tracer
	// Handler wraps the API, so that requests are traced.
	Handler(api http.Handler) http.Handler
	// Transport wraps the transport of forwarded requests, so that they carry the trace.
	Transport(direct http.RoundTripper) http.RoundTripper
}

// end ends a span and records the error of the operation.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
