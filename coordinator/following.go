package coordinator

import (
	"context"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/rebind"
)

// following is a mirror at work.
type following struct {
	*rebind.Mirror
	end func() // stops it and returns when it has stopped
}

// follow starts a mirror if there is none.
func (n *Node) follow() {
	if n.mirror != nil {
		return
	}
	m := rebind.NewMirror(n.store, n.log)
	ctx, cancel := context.WithCancel(n.ctx)
	done := make(chan struct{})
	n.group.Go(func() {
		defer close(done)
		_ = m.Run(ctx) // ends with ctx only
	})
	n.group.Go(func() {
		select {
		case <-m.Loaded():
			n.reportLoad(m)
			n.outlook.poke()
		case <-done:
		}
	})
	n.mirror = &following{Mirror: m, end: func() { cancel(); <-done }}
}

// reportLoad says what was loaded and what is odd about it.
func (n *Node) reportLoad(m *rebind.Mirror) {
	view := m.View()
	n.log.Info("state loaded", zap.Int64("rev", int64(view.Revision())), zap.Int("mementos", view.Len()))
	if count := view.FaultCount(); count > 0 {
		n.log.Warn("mementos quarantined", zap.Int("count", count), zap.String("first", string(view.Faults()[0].Name)))
	}
	if stray := rebind.Order(view).Stray; stray > 0 {
		n.log.Warn("mementos whose parents are missing or run in a circle", zap.Int("count", stray))
	}
}

// drop ends the mirror.
func (n *Node) drop() {
	if n.mirror != nil {
		n.mirror.end()
		n.mirror = nil
	}
}
