package bubble_test

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// valve is a log whose reader can stop.
type valve struct {
	dead <-chan struct{} // closed when its process was killed

	mu   sync.Mutex // guards the field below
	shut chan struct{}
}

// close blocks everybody who logs until the returned func is called.
func (v *valve) close() (open func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	shut := make(chan struct{})
	v.shut = shut
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.shut == shut {
			v.shut = nil
		}
		close(shut)
	}
}

// unread is a writer that writes to a valve.
type unread struct {
	zapcore.Core
	valve *valve
}

func (u unread) With(fields []zapcore.Field) zapcore.Core {
	return unread{u.Core.With(fields), u.valve}
}

func (u unread) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, u)
}

func (u unread) Write(e zapcore.Entry, fields []zapcore.Field) error {
	u.valve.mu.Lock()
	shut := u.valve.shut
	u.valve.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-u.valve.dead:
		}
	}
	return u.Core.Write(e, fields)
}

// ignore stops reading the node's log and makes the node log something, so that its role
// loop hangs. Meanwhile it watches how long the node relies on its lease.
//
//   - I-41: not beyond the stall limit after the last turn of its loop
func (l *lab) ignore(ctx context.Context, s *step, p *process) (undo func()) {
	open := p.log.close()
	watching, cancel := context.WithTimeout(ctx, s.For)
	var group sync.WaitGroup
	if node := p.up(); node != nil {
		group.Go(func() { _, _ = node.SetPriority(watching, p.seat.Priority) })
		group.Go(func() {
			for wait(watching, 100*time.Millisecond) == nil && !p.killed() {
				st := node.Status()
				if st.LoopAge > driver.StallLimit(l.plan.TTL) && st.LeaseRemaining > 0 {
					l.broken("I-41", "%s relies on its lease for another %s, %s after its loop came round", p.name, st.LeaseRemaining, st.LoopAge)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		open()
		group.Wait()
	}
}
