// How far initializing nodes have loaded, for status.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// loadTimeout is how long status waits for nodes to report how far they have loaded.
const loadTimeout = time.Second

// loadsOf asks nodes that are initializing how far they have loaded. That is not in their
// records, which would have to be written all the time. asked is the server that named the
// nodes.
func (o *operator) loadsOf(ctx context.Context, asked string, p *wire.Plane) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	notes := make([]string, len(p.Nodes))
	var asking sync.WaitGroup
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.State != modes.StateInitializing {
			continue
		}
		asking.Go(func() {
			c, err := o.reach(ctx, asked, n.URI, n.ID, n.Instance)
			if err != nil {
				return
			}
			defer c.Close()
			var is wire.Node
			if c.Get(ctx, wire.PathNode, &is) == nil && is.Instance == n.Instance {
				notes[i] = loadNote(is.Mirror)
			}
		})
	}
	asking.Wait()
	loads := make(map[string]string)
	for i, note := range notes {
		if note != "" {
			loads[p.Nodes[i].ID] = note
		}
	}
	return loads
}

// loadNote says how far a load has come; it is empty if none is in progress.
func loadNote(m *wire.Mirror) string {
	if m == nil || m.Total == 0 || m.Loaded >= m.Total {
		return ""
	}
	return fmt.Sprintf("loading %s of %s", gauge(m.Loaded, m.Total), count(m.Total))
}
