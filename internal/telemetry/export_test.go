package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Gatherer gives tests access to the metrics.
func (t *Telemetry) Gatherer() prometheus.Gatherer { return t.registry }
