package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// loadWithin is how long status waits for a node's word on how far its load has come.
const loadWithin = time.Second

// loadsOf asks the nodes that change their state how far their loads have come, which
// is not in the plane's records: they would be written for it all the time. asked is the
// server that has told of them.
func (o *operator) loadsOf(ctx context.Context, asked string, p *wire.Plane) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
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

// loadNote says how far a load has come; it is empty where none is under way.
func loadNote(m *wire.Mirror) string {
	if m == nil || m.Total == 0 || m.Loaded >= m.Total {
		return ""
	}
	return fmt.Sprintf("loading %s of %s", gauge(m.Loaded, m.Total), count(m.Total))
}
