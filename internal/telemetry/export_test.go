package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Gatherer is where the metrics can be read as what they are.
func (t *Telemetry) Gatherer() prometheus.Gatherer { return t.registry }
