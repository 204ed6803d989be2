package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

const (
	stormClients = 12
	// stormAhead is how long a storm lasts before the fault begins.
	stormAhead = 40 * time.Millisecond
)

// storm lets many clients write as fast as they can during a fault that may end a term, so
// that writes are in progress at every stage when it does. Each client goes on until its
// first write that fails. The returned func ends the storm.
func (h *harm) storm(ctx context.Context) (calm func(), err error) {
	node := h.node
	if node == nil {
		node = h.Nodes[0]
	}
	blowing, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	for i := range stormClients {
		c := h.newClient(fmt.Sprintf("storm%d-%d", h.Now().Milliseconds(), i))
		group.Go(func() {
			for blowing.Err() == nil {
				op := c.write(context.WithoutCancel(ctx), node, fmt.Sprintf("storm/n%d", i))
				if h.record(op); op.Outcome != evidence.OK {
					return
				}
			}
		})
	}
	return func() { stop(); group.Wait() }, pause(ctx, stormAhead)
}
