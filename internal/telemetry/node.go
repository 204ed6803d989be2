// Wraps a node for the API: counts and traces what it does.

package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/rebind"
)

// node is a node as the API uses it.
type node struct {
	httpapi.Node
	t *Telemetry
}

// Read records the age of the state that is read.
func (n node) Read() (coordinator.Reading, error) {
	reading, err := n.Node.Read()
	if err == nil {
		n.t.api.staleness.Observe(reading.Staleness.Seconds())
	}
	return reading, err
}

// Commit counts and traces a delta. A delta that a node refuses because it is not master is
// not counted.
func (n node) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	began := time.Now()
	ctx, span := n.t.tracer.Start(ctx, "commit", trace.WithAttributes(attribute.Int("coordinator.operations", len(d.Ops))))
	n.t.api.queue.Inc()
	receipt, err := n.Node.Commit(ctx, d)
	n.t.api.queue.Dec()
	switch {
	case err == nil:
		n.t.api.persist.Observe(time.Since(began).Seconds())
		span.SetAttributes(attribute.Int64("coordinator.revision", int64(receipt.Revision)))
	case !errors.Is(err, coordinator.ErrNotMaster) || errors.Is(err, driver.ErrFenced):
		n.t.api.failures.WithLabelValues(reasonOf(err)).Inc()
	}
	end(span, err)
	return receipt, err
}

// Handover counts and traces a handover. On a node that is not master there is none.
func (n node) Handover(ctx context.Context, to string) (coordinator.HandoverResult, error) {
	began := time.Now()
	ctx, span := n.t.tracer.Start(ctx, "handover", trace.WithAttributes(attribute.String("coordinator.to", to)))
	passed, err := n.Node.Handover(ctx, to)
	if !errors.Is(err, coordinator.ErrNotMaster) {
		n.t.api.handover.WithLabelValues(handoverResult(err)).Observe(time.Since(began).Seconds())
	}
	if err == nil {
		span.SetAttributes(attribute.String("coordinator.to", passed.To), attribute.Int64("coordinator.term", passed.Term))
	}
	end(span, err)
	return passed, err
}

func handoverResult(err error) string {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, driver.ErrRefused):
		return resultRefused
	case errors.Is(err, rebind.ErrUnknown):
		return resultUnknown
	default:
		return resultFailed
	}
}

// reasonOther is the label for an error that is not in the list.
const reasonOther = "other"

// failureReason is the label for the reason why a delta was not stored.
type failureReason struct {
	err    error
	reason string
}

// failureReasons are the known reasons; the first that matches is used.
func failureReasons() []failureReason {
	return []failureReason{
		{rebind.ErrUnknown, "unknown"},
		{driver.ErrFenced, "fenced"},
		{rebind.ErrConflict, "conflict"},
		{driver.ErrClosed, "closed"},
		{driver.ErrTooLarge, "too_large"},
		{driver.ErrStoreFull, "store_full"},
		{rebind.ErrUnavailable, "unavailable"},
		{rebind.ErrInvalid, "invalid"},
		{context.Canceled, "gave_up"},
		{context.DeadlineExceeded, "gave_up"},
	}
}

func reasonOf(err error) string {
	for _, f := range failureReasons() {
		if errors.Is(err, f.err) {
			return f.reason
		}
	}
	return reasonOther
}
