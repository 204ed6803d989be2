package replica_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: a mirror does not take itself for current when its store has gone back
// in time, but loads what the store has now.
func TestMirror_StoreRestoredFromAnOlderCopy(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		early := l.server.Revision()
		for range 20 {
			l.put("entity/x", "2")
		}
		l.load()
		l.reads("entity/x", "2")
		l.server.Restore(early)
		l.put("entity/y", "new")
		synctest.Wait() // the stream is broken, and that is seen before anything is read
		// What waits for a revision is not content with the old store's.
		if err := l.mirror.CatchUp(t.Context(), l.server.Revision()); err != nil {
			t.Fatal(err)
		}
		l.reads("entity/y", "new")
		pass(5 * time.Second)
		v := l.mirror.View()
		if v.Revision() != l.server.Revision() {
			t.Errorf("view at revision %d, store at %d", v.Revision(), l.server.Revision())
		}
		l.reads("entity/y", "new")
		if _, err := v.Get("entity/x"); err == nil {
			t.Error("what the restored store does not have is still there")
		}
	})
}

// forgetful is a source whose history is always gone already.
type forgetful struct{ loads atomic.Int64 }

func (f *forgetful) Load(context.Context, func(driver.Page) error) (rebind.Revision, error) {
	f.loads.Add(1)
	return 0, driver.ErrCompacted
}

func (f *forgetful) Watch(context.Context, rebind.Revision) driver.Watcher { return quiet{} }

func (f *forgetful) Head(context.Context) (rebind.Revision, error) { return 1, nil }

func (f *forgetful) Incarnation() uint64 { return 0 }

func (f *forgetful) Tally(context.Context, rebind.Revision) (int64, error) { return 0, nil }

func (f *forgetful) Restored(uint64, string) error { return driver.ErrRestored }

// A load that cannot succeed is tried again, but not without end in no time.
func TestMirror_PausesBetweenReloads(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		f := &forgetful{}
		l.mirror = replica.NewMirror(f, rebind.Rules{}, zap.NewNop())
		l.run()
		pass(10 * time.Second)
		if n := f.loads.Load(); n < 5 || n > 60 {
			t.Errorf("%d loads in ten seconds", n)
		}
	})
}
