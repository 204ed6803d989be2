package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds what readers of a Mirror call, from any goroutine: for views, to wait for a
// revision, to confirm that the copy is current, and to follow its changes.

const (
	// maxReplays bounds the calls of Replay that run at a time; further ones wait.
	maxReplays = 4
	// maxReplayWatches bounds the watches that are open for them at a time, and
	// replayPartBytes what one of them reads, not counting its last message.
	maxReplayWatches = 1
	replayPartBytes  = 4 << 20
)

// Progress is how far a load has come, in mementos and in bytes that have come.
type Progress struct {
	Loaded, Total, Bytes int64 // Bytes is 0 where the store does not count them
}

// View returns the newest view, or nil before the first load is complete.
func (m *Mirror) View() *rebind.View { return m.view.Load() }

// Loaded returns a channel that is closed when the first load is complete, or when the
// rules have refused it: Refused then returns the reason.
func (m *Mirror) Loaded() <-chan struct{} { return m.loaded }

// Refused returns the [ErrUnusable] of a mirror whose first load the rules refused, or nil.
func (m *Mirror) Refused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// Progress returns how far the present or last load has come.
func (m *Mirror) Progress() Progress { return *m.progress.Load() }

// Revision returns the revision of the newest view, or 0 before there is one.
func (m *Mirror) Revision() rebind.Revision {
	if v := m.view.Load(); v != nil {
		return v.Revision()
	}
	return 0
}

// Staleness returns the age of the last request to the store that found the copy to be
// current. Before the first load it is 0.
func (m *Mirror) Staleness() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.confirmed.IsZero() {
		return 0
	}
	return m.confirmed.Age()
}

// InDoubt reports whether the watch was broken since it was last proved that the view is of
// the present store.
func (m *Mirror) InDoubt() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doubt
}

// Reach blocks until the view's revision is at least to. It returns the cause of ctx if
// that ends first, or the reason why the mirror was refused. It waits for the store's
// changes to arrive, which is enough for a revision that changed a memento. While the watch
// is broken it also waits for the proof that the view is of the present store.
func (m *Mirror) Reach(ctx context.Context, to rebind.Revision) error {
	for {
		m.mu.Lock()
		moved, refused := m.moved, m.refused
		m.mu.Unlock()
		if m.reached(to) {
			return nil
		}
		if refused != nil {
			return refused
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// CatchUp is [Mirror.Reach] for any revision of the store. It has the store asked at once,
// since a revision that changed no memento brings no change.
func (m *Mirror) CatchUp(ctx context.Context, to rebind.Revision) error {
	if !m.reached(to) {
		m.requestConfirm()
	}
	return m.Reach(ctx, to)
}

// reached reports whether the view is known to show the store at a revision, or at a later
// one.
func (m *Mirror) reached(to rebind.Revision) bool {
	v := m.View()
	return v != nil && v.Revision() >= to && !m.InDoubt() && !m.storeReplaced()
}

// Confirm blocks until the copy is known to be current as of a moment after the call: it
// asks the store for its revision by a linearizable read, and waits until the copy has
// reached that. It returns [rebind.ErrUnavailable] if the store does not answer,
// [driver.ErrRestored] if the store is not the one that was copied, and the cause of ctx if
// that ends first.
func (m *Mirror) Confirm(ctx context.Context) error {
	sent := clock.Now()
	head, err := m.head(ctx)
	if err != nil {
		return fmt.Errorf("read the store's revision: %w", err)
	}
	if err := m.CatchUp(ctx, head); err != nil {
		return err
	}
	m.setConfirmed(sent)
	return nil
}

// Steps blocks until the mirror is past the revision after, which it must have reached
// before. It returns the changes since then, one step for each revision, and the revision
// up to which they are complete. There may be no steps: not every revision changes a
// memento. The steps are shared and must not be changed.
//
// It returns [driver.ErrCompacted] if not everything after that revision is kept, or if the
// mirror was loaded anew since. The caller then reads the view and begins again from its
// revision, or calls [Mirror.Replay]. It returns [driver.ErrRestored] while the mirror
// shows a store that was replaced, and the cause of ctx if that ends first.
func (m *Mirror) Steps(ctx context.Context, after rebind.Revision) ([]rebind.Changeset, rebind.Revision, error) {
	for {
		m.mu.Lock()
		moved, refused := m.moved, m.refused
		at := m.Revision()
		steps, kept := m.feed.after(after)
		m.mu.Unlock()
		switch {
		case refused != nil:
			return nil, 0, refused
		case m.storeReplaced():
			return nil, 0, driver.ErrRestored
		case at == 0: // not loaded yet
		case !kept:
			return nil, 0, fmt.Errorf("%w: changes after revision %d are no longer kept", driver.ErrCompacted, after)
		case at < after: // loaded anew from a store that was restored
			return nil, 0, fmt.Errorf("%w: this copy is at revision %d, before %d", driver.ErrCompacted, at, after)
		case at > after:
			return steps, at, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}

// Replay serves a caller that is further back than [Mirror.Steps] reaches. It reads the
// changes after a revision from the store, in order, by short watches, and calls each with
// them. It returns the revision up to which they are complete. If Steps reaches back to the
// revision, Replay returns that at once.
//
// It returns [driver.ErrCompacted] if the store no longer has everything after that
// revision, [driver.ErrRestored] as Steps does, the error of each, and the cause of ctx if
// that ends first.
func (m *Mirror) Replay(ctx context.Context, after rebind.Revision, each func([]rebind.Changeset) error) (rebind.Revision, error) {
	m.mu.Lock()
	_, kept := m.feed.after(after)
	to := m.Revision()
	m.mu.Unlock()
	switch {
	case m.storeReplaced():
		return 0, driver.ErrRestored
	case kept:
		return after, nil
	}
	select {
	case m.replays <- struct{}{}:
		defer func() { <-m.replays }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	incarnation := m.source.Incarnation()
	for at := after; at < to; {
		if err := m.Reach(ctx, 0); err != nil { // until the copy is known to be of the present store
			return 0, err
		}
		if m.View().Incarnation() != incarnation {
			return 0, driver.ErrRestored
		}
		steps, reached, err := m.replayPart(ctx, at, to)
		if err != nil {
			return 0, fmt.Errorf("watch mementos after revision %d: %w", at, err)
		}
		if err := each(steps); err != nil {
			return 0, err
		}
		at = reached
	}
	return to, nil
}

// replayPart returns the changes after a revision, up to another or until they are large,
// and how far they go. Its watch has ended when it returns: the store's client may buffer
// without bound what is not read, and each may be slow.
func (m *Mirror) replayPart(ctx context.Context, after, to rebind.Revision) (steps []rebind.Changeset, at rebind.Revision, err error) {
	select {
	case m.replayWatches <- struct{}{}:
		defer func() { <-m.replayWatches }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	watch := m.source.Watch(ctx, after)
	defer watch.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { requestProgress(ctx, watch) })
	bytes := int64(0)
	for at = after; at < to && bytes < replayPartBytes; {
		batch, err := watch.Next(ctx)
		if err != nil {
			return nil, 0, err
		}
		at = batch.Revision
		for i := range batch.Changes {
			bytes += batch.Changes[i].Size()
		}
		steps = append(steps, m.judgedSteps(batch.Changes, to)...)
	}
	return steps, at, nil
}

// requestProgress asks a watch for its progress until ctx ends: the last revisions may have
// changed no memento, and then bring nothing by themselves.
func requestProgress(ctx context.Context, watch driver.Watcher) {
	tick := time.NewTicker(progressRetry)
	defer tick.Stop()
	for {
		_ = watch.Progress(ctx) // an error of the watch comes from Next
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// judgedSteps makes steps of the changes up to a revision, as this mirror would show them.
func (m *Mirror) judgedSteps(changes []rebind.Change, to rebind.Revision) []rebind.Changeset {
	fit := make([]rebind.Change, 0, len(changes))
	for _, c := range changes {
		if c.Revision <= to {
			fit = append(fit, m.rules.Judge(c))
		}
	}
	return appendSteps(nil, fit)
}
