package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

var (
	errAnswer = errors.New("unexpected answer")
	errNoKey  = errors.New("no such key")
)

// order sends an operator's request to a node.
func (n *Node) order(ctx context.Context, method, path string, body any) (*answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	return n.fleet.call(ctx, method, n.url+path, map[string]string{"Content-Type": "application/json"}, text)
}

// handover makes the master hand over to the best candidate, if it has one now.
func (h *harm) handover(ctx context.Context) error {
	a, err := h.Nodes[0].order(ctx, http.MethodPost, "/v1/plane/handover", struct{}{})
	switch {
	case err != nil:
		return err
	case a.status == http.StatusConflict || a.status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %.200s", errNobody, a.body)
	case a.status != http.StatusOK:
		return fmt.Errorf("handover: %d %.200s: %w", a.status, a.body, errAnswer)
	}
	h.fault.Detail = string(a.body)
	return nil
}

// setMode changes a node's mode. A change that takes long continues after the answer.
func (h *harm) setMode(ctx context.Context, mode string) error {
	return await(ctx, waitLimit, func(ctx context.Context) error {
		a, err := h.node.order(ctx, http.MethodPut, "/v1/node/mode", map[string]string{"mode": mode})
		if err == nil && a.status != http.StatusOK && a.status != http.StatusAccepted {
			err = fmt.Errorf("mode %s for %s: %d %.200s: %w", mode, h.node.ID, a.status, a.body, errAnswer)
		}
		return err
	})
}

// changeMode makes a node a hot backup, or the backup a standby, and later restores its
// mode.
func (h *harm) changeMode(ctx context.Context) error {
	to := "hot_backup"
	if h.step.On == onBackup {
		to = "hot_standby"
	}
	return h.changeFor(ctx, to)
}

// changeFor gives a node another mode for a while.
func (h *harm) changeFor(ctx context.Context, mode string) error {
	if err := h.setMode(ctx, mode); err != nil {
		return err
	}
	if err := pause(ctx, h.step.For); err != nil {
		return err
	}
	return h.setMode(ctx, h.node.Mode)
}

// disable disables a node, and later restores its mode.
func (h *harm) disable(ctx context.Context) error { return h.changeFor(ctx, "disabled") }

// pauseAndKill kills the master while automatic promotion is paused: no node may lead until
// the pause is ended.
func (h *harm) pauseAndKill(ctx context.Context) error {
	var other *Node
	for _, n := range h.Nodes {
		if n != h.node && n.up() {
			other = n
		}
	}
	if a, err := other.order(ctx, http.MethodPost, "/v1/plane/pause", struct{}{}); err != nil || a.status != http.StatusOK {
		return fmt.Errorf("pause: %+v: %w", a, errors.Join(err, errAnswer))
	}
	h.node.Process().Kill()
	err := pause(ctx, h.step.For)
	if err == nil {
		if leader, none := h.AwaitMaster(ctx, time.Second); none == nil {
			h.complain("%s leads in a pause", leader.ID)
		}
	}
	h.fault.Detail = "resumed at " + h.Now().String()
	a, resumed := other.order(ctx, http.MethodPost, "/v1/plane/resume", struct{}{})
	if resumed == nil && a.status != http.StatusOK {
		resumed = fmt.Errorf("resume: %d %.200s: %w", a.status, a.body, errAnswer)
	}
	return errors.Join(err, resumed, h.node.Start())
}

// leaseOf is the lease of a node's record.
func (h *harm) leaseOf(ctx context.Context, n *Node) (clientv3.LeaseID, error) {
	resp, err := h.store.Get(ctx, root+"nodes/"+n.ID)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the record of %s: %w", n.ID, err)
	case len(resp.Kvs) == 0:
		return 0, fmt.Errorf("record of %s: %w", n.ID, errNoKey)
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease), nil
}

// revoke revokes a node's lease by hand.
func (h *harm) revoke(ctx context.Context) error {
	h.fault.Taken = true
	lease, err := h.leaseOf(ctx, h.node)
	if err != nil {
		return err
	}
	if _, err := h.store.Revoke(ctx, lease); err != nil {
		return fmt.Errorf("revoke lease of %s: %w", h.node.ID, err)
	}
	return nil
}

// unelect deletes a node's election key by hand.
func (h *harm) unelect(ctx context.Context) error {
	h.fault.Taken = true
	lease, err := h.leaseOf(ctx, h.node)
	if err != nil {
		return err
	}
	return h.delete(ctx, fmt.Sprintf("election/%x", int64(lease)))
}

// unterm deletes the term record by hand.
func (h *harm) unterm(ctx context.Context) error {
	h.fault.Taken = true
	return h.delete(ctx, "term")
}

// delete deletes a key of the plane by hand, and records that.
func (h *harm) delete(ctx context.Context, key string) error {
	resp, err := h.store.Delete(ctx, root+key)
	switch {
	case err != nil:
		return fmt.Errorf("delete %s: %w", key, err)
	case resp.Deleted == 0:
		return fmt.Errorf("delete %s: %w", key, errNoKey)
	}
	h.note(func(run *evidence.Run) { run.Hands = append(run.Hands, resp.Header.Revision) })
	return nil
}
