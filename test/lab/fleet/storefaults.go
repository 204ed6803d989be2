package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// killMembers kills members of etcd, all at once, and starts them again with their data.
func (h *harm) killMembers(ctx context.Context) error {
	for _, m := range h.members {
		m.Process().shoot()
	}
	for _, m := range h.members {
		m.Process().Kill()
	}
	if err := pause(ctx, h.step.For); err != nil {
		return err
	}
	for _, m := range h.members {
		if err := m.Start(); err != nil {
			return err
		}
	}
	for _, m := range h.members {
		if err := m.AwaitServing(ctx, waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// rollMembers restarts all members of etcd, one after the other.
func (h *harm) rollMembers(ctx context.Context) error {
	for i, m := range h.Members {
		h.goOn(i, m.Name)
		h.members = []*Member{m}
		if err := h.killMembers(ctx); err != nil {
			return err
		}
		if _, err := h.Leader(ctx, waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// freezeMembers stops members of etcd with a signal, and later continues them.
func (h *harm) freezeMembers(ctx context.Context) error {
	for _, m := range h.members {
		if err := m.Process().Freeze(ctx); err != nil {
			return err
		}
	}
	err := pause(ctx, h.step.For)
	for _, m := range h.members {
		err = errors.Join(err, m.Process().Thaw(context.WithoutCancel(ctx)))
	}
	return err
}

// behind is how long before the store's head a compaction stays: the run's observer has
// read that far.
const behind = time.Second

// compact compacts etcd's history up to a moment ago.
func (h *harm) compact(ctx context.Context) error {
	now, err := h.store.Get(ctx, root)
	if err != nil {
		return fmt.Errorf("read the store's revision: %w", err)
	}
	if err := pause(ctx, behind); err != nil {
		return err
	}
	h.fault.Detail = fmt.Sprintf("at revision %d", now.Header.Revision)
	if _, err := h.store.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// stall compacts what a node has not seen while it stands still.
func (h *harm) stall(ctx context.Context) error {
	p := h.node.Process()
	if err := p.Freeze(ctx); err != nil {
		return err
	}
	err := pause(ctx, h.step.For)
	if err == nil {
		err = h.compact(ctx)
	}
	return errors.Join(err, p.Thaw(context.WithoutCancel(ctx)))
}

// defragment defragments the members one after the other, which blocks each for a while.
func (h *harm) defragment(ctx context.Context) error {
	for _, m := range h.Members {
		if _, err := h.store.Defragment(ctx, m.client); err != nil {
			return fmt.Errorf("defragment %s: %w", m.Name, err)
		}
	}
	return nil
}
