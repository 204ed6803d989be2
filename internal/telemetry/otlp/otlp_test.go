package otlp_test

import (
	"testing"

	"github.com/coordinator-ha/coordinator/internal/telemetry/otlp"
)

// Spans are wanted only if the environment names an endpoint for them.
func TestWanted(t *testing.T) {
	names := []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
	for _, name := range names {
		t.Setenv(name, "")
	}
	if otlp.Wanted() {
		t.Fatal("spans are wanted although no endpoint is named")
	}
	for _, name := range names {
		t.Setenv(name, "http://127.0.0.1:4317")
		if !otlp.Wanted() {
			t.Errorf("%s has no effect", name)
		}
		t.Setenv(name, "")
	}
}
