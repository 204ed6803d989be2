package telemetry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// lab is an observed in-memory store.
type lab struct {
	*memstore.Server
	t *testing.T
}

func (l lab) Node(id string) driver.Store { return quiet(l.t).Store(l.Server.Node(id)) }

func (l lab) Garble(name rebind.Name) { l.Put(name, rebind.Content{}, "not readable") }

// quiet returns telemetry that makes no spans.
func quiet(t *testing.T) *telemetry.Telemetry {
	t.Helper()
	return telemetry.New(telemetry.Config{})
}

// An observed store keeps the whole contract.
func TestStore_KeepsTheContract(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(10 * time.Second)
				t.Cleanup(s.Close)
				c.Run(t, lab{s, t})
			})
		})
	}
}
