package coordinator

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the node's replica: a mirror of all state, and what runs it. The loop
// starts and drops it; other goroutines read the mirror that the loop shows them.

// localReplica is a mirror at work.
type localReplica struct {
	*replica.Mirror
	ctx     context.Context
	end     func()          // stops it and returns when it has stopped
	awaited rebind.Revision // the highest that the loop is to be woken for
}

// startReplica starts a replica if there is none. It returns at once.
func (l *loop) startReplica() {
	if l.replica != nil {
		return
	}
	m := replica.NewMirror(l.store, l.cfg.Rules, l.log)
	ctx, cancel := context.WithCancel(l.ctx)
	done := make(chan struct{})
	l.group.Go(func() {
		defer close(done)
		_ = m.Run(ctx) // ends with ctx, or is refused
	})
	l.group.Go(func() { l.watchLoad(m, done) })
	l.replica = &localReplica{Mirror: m, ctx: ctx, end: func() { cancel(); <-done }}
}

// tellLoadEvery is how often a node says how far its load has come.
const tellLoadEvery = time.Second

// watchLoad says how the load of a mirror goes, and wakes the loop at its end. It
// returns when that has come, or the mirror's own.
func (l *loop) watchLoad(m *replica.Mirror, done <-chan struct{}) {
	tick := time.NewTicker(tellLoadEvery)
	defer tick.Stop()
	for told := (replica.Progress{}); ; {
		select {
		case <-m.Loaded():
			if m.Refused() == nil {
				l.reportLoad(m)
			}
			l.cache.wake()
			return
		case <-done:
			return
		case <-tick.C:
			if now := m.Progress(); now != told {
				l.log.Info("loading state", zap.Int64("mementos", now.Loaded), zap.Int64("of", now.Total), zap.Int64("bytes", now.Bytes))
				told = now
			}
		}
	}
}

// reportLoad says what was loaded and what is odd about it.
func (l *loop) reportLoad(m *replica.Mirror) {
	view := m.View()
	l.log.Info("state loaded", zap.Int64("rev", int64(view.Revision())), zap.Int("mementos", view.Len()))
	if count := view.FaultCount(); count > 0 {
		l.log.Warn("mementos quarantined", zap.Int("count", count), zap.String("first", string(view.FirstFaults()[0].Name)))
	}
	if _, stray := view.Ordered(); stray > 0 {
		l.log.Warn("mementos whose parents are missing or run in a circle", zap.Int("count", stray))
	}
}

// awaitRevision wakes the loop when the mirror has come to a revision.
func (l *loop) awaitRevision(to rebind.Revision) {
	if l.replica.awaited >= to {
		return
	}
	l.replica.awaited = to
	m := l.replica
	l.group.Go(func() {
		if m.CatchUp(m.ctx, to) == nil {
			l.cache.wake()
		}
	})
}

// dropReplica ends the replica, if there is one, and blocks until the mirror has stopped
// following the store, which it does at once.
func (l *loop) dropReplica() {
	if l.replica != nil {
		l.replica.end()
		l.replica = nil
	}
}
