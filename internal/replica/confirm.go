package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is how a mirror knows that it is current: it asks the store for its revision, and
// for progress where that is ahead.

const (
	// confirmEvery is how often a mirror asks the store whether it is current.
	confirmEvery = time.Second
	// askAgain is how long a mirror waits for the answer to a progress request.
	// etcd drops such a request while a watcher of the stream is catching up,
	// which takes it up to 100 ms.
	askAgain = 150 * time.Millisecond
	// headTimeout bounds one read of the store's revision.
	headTimeout = 2 * time.Second
	// missedAfter is when a confirmation that has not come counts as missed: the
	// process may have slept.
	missedAfter = confirmEvery + headTimeout
)

// confirm asks the store's revision once a second, or at once where somebody
// waits for it, and sees that the copy comes that far. Where that was not to be had
// for a while it ends the stream: the next one begins with a proof.
func (m *Mirror) confirm(ctx context.Context, watch driver.Watcher) error {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	last, missed := clock.Now(), false
	for {
		select {
		case <-tick.C:
		case <-m.hurry:
			// Whoever waits knows a revision: the stream can be asked at once, which
			// most often spares the wait for the store's.
			if err := watch.Progress(ctx); err != nil {
				return fmt.Errorf("ask for progress of the watch: %w", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		sent := clock.Now()
		head, err := m.headWithin(ctx)
		switch {
		case errors.Is(err, driver.ErrRestored):
			return err
		case m.outlived():
			return fmt.Errorf("%w: this copy is of the one before", driver.ErrRestored)
		case err != nil:
			m.log.Debug("store's revision not read", zap.Error(err))
			missed = true
			continue
		case missed, last.Age()-sent.Age() > missedAfter:
			return fmt.Errorf("%w for %s", errMissed, last.Age())
		}
		last = sent
		if err := m.catchUp(ctx, watch, head); err != nil {
			return err
		}
		m.sure(sent)
	}
}

// sure notes that the copy was found to be current by a read sent at that moment.
func (m *Mirror) sure(sent clock.Moment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.confirmed.IsZero() || sent.Age() < m.confirmed.Age() {
		m.confirmed = sent
	}
}

func (m *Mirror) headWithin(ctx context.Context) (rebind.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return m.head(ctx)
}

// catchUp asks for progress until the copy has reached the revision to, and is no
// longer in doubt.
func (m *Mirror) catchUp(ctx context.Context, watch driver.Watcher, to rebind.Revision) error {
	for !m.reached(to) {
		if err := watch.Progress(ctx); err != nil {
			return fmt.Errorf("ask for progress of the watch: %w", err)
		}
		wait, cancel := context.WithTimeout(ctx, askAgain)
		_ = m.Reach(wait, to) // not in time: ask again
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Confirm blocks until the copy is known to be current as of a moment after the
// call: the store is asked for its revision by a linearizable read, and the copy has
// come that far. It returns [rebind.ErrUnavailable] when the store does not answer,
// [driver.ErrRestored] when it is not the one that was copied, and the cause of ctx if that
// ends first.
func (m *Mirror) Confirm(ctx context.Context) error {
	sent := clock.Now()
	head, err := m.head(ctx)
	if err != nil {
		return fmt.Errorf("read the store's revision: %w", err)
	}
	if err := m.CatchUp(ctx, head); err != nil {
		return err
	}
	m.sure(sent)
	return nil
}

// head asks the store for its revision. One below what the copy has come to is that
// of a store that was restored.
func (m *Mirror) head(ctx context.Context) (rebind.Revision, error) {
	v := m.View()
	head, err := m.source.Head(ctx)
	if err == nil && v != nil && head < v.Revision() {
		return 0, m.source.Restored(v.Incarnation(), fmt.Sprintf("it is at revision %d, this copy at %d", head, v.Revision()))
	}
	return head, err
}
