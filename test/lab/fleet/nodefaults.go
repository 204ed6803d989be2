package fleet

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// victims are the nodes that the step is done to.
func (h *harm) victims(ctx context.Context) ([]*Node, error) {
	switch h.step.On {
	case onAll:
		return h.Nodes, nil
	case onPair:
		next, err := h.next(ctx)
		if err != nil {
			return nil, err
		}
		h.fault.Detail = "and " + next.ID
		return []*Node{h.node, next}, nil
	default:
		return []*Node{h.node}, nil
	}
}

// next is the node that would lead if the master were gone.
func (h *harm) next(ctx context.Context) (*Node, error) {
	var p struct{ Next string }
	if err := h.node.get(ctx, "/v1/plane", &p); err != nil {
		return nil, err
	}
	if n := h.Node(p.Next); n != nil && n.up() {
		return n, nil
	}
	return nil, fmt.Errorf("%w: next is %q", errNobody, p.Next)
}

// kill ends nodes as a power failure would, all at once, and starts them again.
func (h *harm) kill(ctx context.Context) error {
	nodes, err := h.victims(ctx)
	if err != nil {
		return err
	}
	h.fault.From = h.Now()
	for _, n := range nodes {
		n.Process().shoot()
	}
	for _, n := range nodes {
		n.Process().Kill()
	}
	if err := pause(ctx, h.step.For); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// stopWithin is how long a node may take to stop when asked to.
const stopWithin = 10*time.Second + slack

// stop asks a node to stop, and starts it again.
func (h *harm) stop(ctx context.Context) error {
	return h.end(ctx, func() error {
		if err := h.node.Process().Signal(syscall.SIGTERM); err != nil {
			return err
		}
		code, err := h.node.Process().Exit(ctx, stopWithin)
		if err == nil && code != 0 {
			h.complain("%s was asked to stop, and stopped with exit code %d", h.node.ID, code)
		}
		return err
	})
}

// stopTwice asks a node to stop, and then to stop at once.
func (h *harm) stopTwice(ctx context.Context) error {
	return h.end(ctx, func() error {
		p := h.node.Process()
		if err := errors.Join(p.Signal(syscall.SIGTERM), p.Signal(syscall.SIGINT)); err != nil {
			return err
		}
		_, err := p.Exit(ctx, slack) // 0 if it had stopped before the second signal
		return err
	})
}

// roll restarts all nodes, one after the other, as an upgrade does.
func (h *harm) roll(ctx context.Context) error {
	for i, n := range h.Nodes {
		h.goOn(i, n.ID)
		h.node = n
		if err := h.stop(ctx); err != nil {
			return err
		}
		if err := n.AwaitServing(ctx, waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// end ends a node in one of several ways, and starts it again.
func (h *harm) end(ctx context.Context, how func() error) error {
	h.node.Process().expected.Store(true)
	err := how()
	if errors.Is(err, errRunning) {
		h.complain("I-30: %v", err)
		h.node.Process().Kill()
	} else if err != nil {
		return err
	}
	h.fault.Detail = fmt.Sprintf("ended after %s", (h.Now() - h.fault.From).Round(time.Millisecond))
	if err := pause(ctx, h.step.For); err != nil {
		return err
	}
	return h.node.Start()
}

// freeze stops a node with a signal, and later continues it.
func (h *harm) freeze(ctx context.Context) error {
	p := h.node.Process()
	if err := p.Freeze(ctx); err != nil {
		return err
	}
	return errors.Join(pause(ctx, h.step.For), p.Thaw(context.WithoutCancel(ctx)))
}

// frost is freeze with the kernel's freezer, which sends the process no signal.
func (h *harm) frost(ctx context.Context) error {
	p := h.node.Process()
	g, err := newGroup("freezer", p)
	if err != nil {
		return err
	}
	p.still(true)
	err = g.freeze(ctx)
	if err == nil {
		err = pause(ctx, h.step.For)
	}
	err = errors.Join(err, g.thaw(context.WithoutCancel(ctx)))
	p.still(false)
	return errors.Join(err, g.remove())
}

// starvedPercent is a starved process's share of one processor.
const starvedPercent = 5

// starve leaves a node almost no processor time.
func (h *harm) starve(ctx context.Context) error {
	p := h.node.Process()
	g, err := newGroup("cpu", p)
	if err != nil {
		return err
	}
	p.still(true) // it stands still for most of each tenth of a second
	defer p.still(false)
	err = g.throttle(starvedPercent)
	if err == nil {
		err = pause(ctx, h.step.For)
	}
	var periods int
	if err == nil {
		periods, err = g.throttled()
		h.fault.Detail = fmt.Sprintf("throttled in %d periods", periods)
	}
	return errors.Join(err, g.remove())
}

// unread stops reading a node's log, which is a full pipe. This must cost nothing.
func (h *harm) unread(ctx context.Context) error {
	if err := h.node.Process().ignore(ctx, h.step.For); err != nil {
		return err
	}
	return pause(ctx, time.Second) // now it writes what it has kept
}

// noFile leaves a node unable to open files or connections.
func (h *harm) noFile(ctx context.Context) error {
	p := h.node.Process()
	open, restore, err := limitFiles(p.PID())
	if err != nil {
		return err
	}
	h.fault.Detail = fmt.Sprintf("%d files", open)
	return errors.Join(pause(ctx, h.step.For), restore())
}
