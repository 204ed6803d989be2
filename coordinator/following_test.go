package coordinator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// slowStore brings a page of mementos every one and a half seconds.
type slowStore struct{ driver.Store }

func (s slowStore) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	return s.Store.Load(ctx, func(p driver.Page) error {
		<-time.After(1500 * time.Millisecond)
		return page(p)
	})
}

// Who starts a node with much to load sees how far it has come.
func TestNode_SaysHowItsLoadGoes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for i := range 250 {
			l.server.Put(rebind.Name(fmt.Sprintf("entity/%03d", i)), rebind.Content{}, "")
		}
		core, logs := observer.New(zapcore.InfoLevel)
		l.plane.Wrap = func(_ string, s driver.Store) driver.Store { return slowStore{s} }
		l.start("a", modes.HotBackup, func(cfg *coordinator.Config) { cfg.Logger = zap.New(core) })
		pass(10 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotBackup})
		said := logs.FilterMessage("loading state").All()
		want := []int64{100, 200}
		if len(said) != len(want) {
			t.Fatalf("said how the load goes %d times: %v", len(said), said)
		}
		for i, entry := range said {
			if fields := entry.ContextMap(); fields["mementos"] != want[i] || fields["of"] != int64(250) {
				t.Errorf("said %v, want %d of 250", fields, want[i])
			}
		}
	})
}
