package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// lab shows the server's faults as the contract's tests ask for them.
type lab struct{ *memstore.Server }

func (l lab) Node(id string) driver.Store { return l.Server.Node(id) }

func (l lab) Garble(name rebind.Name) { l.Put(name, rebind.Content{}, "not readable") }

func TestContract(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(10 * time.Second)
				t.Cleanup(s.Close)
				c.Run(t, lab{s})
			})
		})
	}
}
