package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// atWriter runs local, which changes a plane without a term, on a node whose mode writes
// such keys: here if it does. A hot_backup node and one that is out of the plane write
// nothing of the plane's, and etcd may well refuse it to them: they pass the request
// on, to the master or, without one, to another that could lead.
func (f *forwarder) atWriter(w http.ResponseWriter, r *http.Request, local handler) error {
	st := f.server.node.Status()
	if st.Mode.Promotable() || st.State == modes.StateMaster {
		return local(w, r)
	}
	if r.Header.Get(wire.HeaderForward) == wire.ForwardNever {
		return f.misdirected(w)
	}
	body, err := readBody(w, r, maxControlBody)
	if err != nil {
		return err
	}
	p, _ := f.server.node.Plane(r.Context()) // or what was last seen of it
	for _, m := range writers(&p) {
		err := f.send(w, r, body, m)
		if !errors.Is(err, errTryAgain) && !errors.Is(err, coordinator.ErrNoMaster) {
			return err
		}
	}
	return fmt.Errorf("%w: mode %s writes none of the plane's keys, and no node answers that does: start one that could lead", coordinator.ErrNoMaster, st.Mode)
}

// writers are the nodes that change a plane for an operator: the master first.
func writers(p *coordinator.Plane) []coordinator.Member {
	var found []coordinator.Member
	master, led := p.Master()
	if led {
		found = append(found, master)
	}
	for _, m := range p.Members {
		if m.Mode.Promotable() && (!led || m.ID != master.ID) {
			found = append(found, m)
		}
	}
	return found
}
