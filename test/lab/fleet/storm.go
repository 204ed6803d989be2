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
	// stormAhead is how long a storm goes on before the harm is done.
	stormAhead = 40 * time.Millisecond
)

// storm has many clients write as fast as they can while harm is done that may end a
// term, so that writes are under way on all of their way when it does. Each goes on
// until it is told of the first that was not done. The returned func ends the storm.
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
