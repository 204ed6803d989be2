package rebind

import (
	"context"
	"fmt"

	"github.com/coordinator-ha/coordinator/internal/clock"
)

// Confirm blocks until the copy is known to be current as of a moment after the
// call: the store is asked for its revision by a linearizable read, and the copy has
// come that far. It returns [ErrUnavailable] when the store does not answer,
// [ErrRestored] when it is not the one that was copied, and the cause of ctx if that
// ends first.
func (m *Mirror) Confirm(ctx context.Context) error {
	sent, before := clock.Now(), m.Revision()
	head, err := m.source.Head(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read the store's revision: %w", err)
	case head < before:
		return fmt.Errorf("%w: it is at revision %d, this copy at %d", ErrRestored, head, before)
	}
	if err := m.CatchUp(ctx, head); err != nil {
		return err
	}
	m.sure(sent)
	return nil
}
