package coordinator

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// following is a mirror at work.
type following struct {
	*replica.Mirror
	ctx     context.Context
	end     func()          // stops it and returns when it has stopped
	awaited rebind.Revision // the highest that the role loop is to be woken for
}

// follow starts a mirror if there is none.
func (l *loop) follow() {
	if l.mirror != nil {
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
	l.mirror = &following{Mirror: m, ctx: ctx, end: func() { cancel(); <-done }}
}

// tellLoadEvery is how often a node says how far its load has come.
const tellLoadEvery = time.Second

// watchLoad says how the load of a mirror goes, and wakes the role loop at its end. It
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

// awaitRevision wakes the role loop when the mirror has come to a revision.
func (l *loop) awaitRevision(to rebind.Revision) {
	if l.mirror.awaited >= to {
		return
	}
	l.mirror.awaited = to
	m := l.mirror
	l.group.Go(func() {
		if m.CatchUp(m.ctx, to) == nil {
			l.cache.wake()
		}
	})
}

// drop ends the mirror.
func (l *loop) drop() {
	if l.mirror != nil {
		l.mirror.end()
		l.mirror = nil
	}
}
