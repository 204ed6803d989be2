package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file tells of what is older than a mirror's feed, by short watches of the store.

const (
	// maxReplays bounds how many come from the past at a time; further ones wait.
	maxReplays = 4
	// maxRecalls bounds the watches that a mirror opens for them at a time, and
	// recallBytes what one of these brings, but for its last message.
	maxRecalls  = 1
	recallBytes = 4 << 20
)

// Replay brings whoever follows from further back than [Mirror.Steps] reaches to where
// it does. It calls tell with what happened after a revision, in order, as the store
// still knows it, which costs the store watches that are short, and returns the
// revision up to which that is complete. Where Steps reaches back to the revision,
// Replay returns it at once.
//
// It returns [driver.ErrCompacted] when the store no longer has everything after that
// revision, [driver.ErrRestored] as Steps does, what tell returns, and the cause of ctx if
// that ends first.
func (m *Mirror) Replay(ctx context.Context, after rebind.Revision, tell func([]rebind.Step) error) (rebind.Revision, error) {
	m.mu.Lock()
	_, kept := m.feed.after(after)
	to := m.Revision()
	m.mu.Unlock()
	switch {
	case m.outlived():
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
	life := m.source.Incarnation()
	for at := after; at < to; {
		if err := m.Reach(ctx, 0); err != nil { // of which store is the copy?
			return 0, err
		}
		if m.View().Incarnation() != life {
			return 0, driver.ErrRestored
		}
		steps, reached, err := m.recall(ctx, at, to)
		if err != nil {
			return 0, fmt.Errorf("watch mementos after revision %d: %w", at, err)
		}
		if err := tell(steps); err != nil {
			return 0, err
		}
		at = reached
	}
	return to, nil
}

// recall returns what happened after a revision, up to another or until it is much, and
// how far that goes. Its watch has ended by then: the store's client may keep without
// bound what is not taken from it, and whoever is told may be slow.
func (m *Mirror) recall(ctx context.Context, after, to rebind.Revision) (steps []rebind.Step, at rebind.Revision, err error) {
	select {
	case m.recalls <- struct{}{}:
		defer func() { <-m.recalls }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	watch := m.source.Watch(ctx, after)
	defer watch.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { askFor(ctx, watch) })
	bytes := int64(0)
	for at = after; at < to && bytes < recallBytes; {
		batch, err := watch.Next(ctx)
		if err != nil {
			return nil, 0, err
		}
		at = batch.Revision
		for i := range batch.Changes {
			bytes += batch.Changes[i].Size()
		}
		steps = append(steps, m.judged(batch.Changes, to)...)
	}
	return steps, at, nil
}

// askFor asks how far a watch has come until ctx ends: the last revisions may have
// changed no memento, and then bring nothing by themselves.
func askFor(ctx context.Context, watch driver.Watcher) {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		_ = watch.Progress(ctx) // Next tells what is wrong with the watch
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// judged makes steps of changes up to a revision, as this mirror would show them.
func (m *Mirror) judged(changes []rebind.Change, to rebind.Revision) []rebind.Step {
	fit := make([]rebind.Change, 0, len(changes))
	for _, c := range changes {
		if c.Revision <= to {
			fit = append(fit, m.rules.Judge(c))
		}
	}
	return appendSteps(nil, fit)
}
