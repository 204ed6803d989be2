// Package coalesce stores mementos that change often: of several changes of one it stores
// the latest.
package coalesce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// maxDirty bounds the mementos that wait in a [Writer].
const maxDirty = 10_000

// batchBytes bounds the payloads that are stored together, so that no memento waits for the
// transfer of many others.
const batchBytes = 256 << 10

// Committer stores deltas. A Leader or a Node of package coordinator is one.
type Committer interface {
	Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error)
}

// Writer writes mementos for a program that changes the same ones often: of several changes
// of a memento it stores the latest. Set returns before the change is stored;
// [Writer.Flush] returns when all changes that were set before it are. The methods of a
// Writer may be called from any goroutine.
type Writer struct {
	to Committer

	mu     sync.Mutex // guards the fields below
	dirty  map[rebind.Name]*rebind.Content
	order  []noted       // the mementos in dirty, the oldest first
	set    uint64        // how many changes were set
	stored uint64        // all changes up to this one are stored, or failed
	failed error         // the errors that no Flush has returned yet
	moved  chan struct{} // closed at each change of the fields above
}

// noted is a memento that waits, and the number of the change that it waits since.
type noted struct {
	name rebind.Name
	set  uint64
}

// New returns a writer that writes through to while Run runs.
func New(to Committer) *Writer {
	return &Writer{to: to, dirty: make(map[rebind.Name]*rebind.Content), moved: make(chan struct{})}
}

// Set sets the content that a memento is to have; nil deletes it. It blocks while too many
// other mementos wait, and returns the cause of ctx if that ends first. The payload must not
// be changed afterwards. The error wraps [rebind.ErrInvalid] if the name or the content is
// not valid.
func (c *Writer) Set(ctx context.Context, name rebind.Name, content *rebind.Content) error {
	if err := (&rebind.Delta{Ops: []rebind.Op{{Name: name, Put: content}}}).Check(); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		_, waits := c.dirty[name]
		if waits || len(c.dirty) < maxDirty {
			c.set++
			if !waits {
				c.order = append(c.order, noted{name, c.set})
			}
			c.dirty[name] = content
			c.wakeWaiters()
			c.mu.Unlock()
			return nil
		}
		moved := c.moved
		c.mu.Unlock()
		if err := await(ctx, moved); err != nil {
			return err
		}
	}
}

// Flush blocks until all changes that were set before the call are stored, or have failed.
// It returns the errors of those that have failed since the last Flush, each once. If ctx
// ends first it returns the cause, and which changes are stored is not known.
func (c *Writer) Flush(ctx context.Context) error {
	c.mu.Lock()
	until := c.set
	c.mu.Unlock()
	for {
		c.mu.Lock()
		moved := c.moved
		if c.stored >= until {
			err := c.failed
			c.failed = nil
			c.mu.Unlock()
			return err
		}
		c.mu.Unlock()
		if err := await(ctx, moved); err != nil {
			return err
		}
	}
}

// Run stores the changes that are set until ctx ends, or until the store accepts no more
// writes of this term; it returns the reason. Changes that are not stored by then are lost,
// and no Flush returns for them. While the store cannot be reached Run tries again.
func (c *Writer) Run(ctx context.Context) error {
	pause := retry.NewBackoff(time.Second)
	for {
		c.mu.Lock()
		moved, ops := c.moved, c.take()
		c.mu.Unlock()
		if len(ops) == 0 {
			if err := await(ctx, moved); err != nil {
				return err
			}
			continue
		}
		err := c.store(ctx, ops)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, driver.ErrClosed), errors.Is(err, driver.ErrFenced):
			return err
		case errors.Is(err, rebind.ErrUnavailable), errors.Is(err, rebind.ErrUnknown):
			c.putBack(ops)
			if err := retry.Wait(ctx, pause.Next()); err != nil {
				return err
			}
			continue
		}
		pause.Reset()
		c.settle(err)
	}
}

// store commits ops together or, if the store does not accept them together, one by one.
func (c *Writer) store(ctx context.Context, ops []rebind.Op) error {
	_, err := c.to.Commit(ctx, rebind.Delta{Ops: ops})
	if len(ops) == 1 || (!errors.Is(err, driver.ErrTooLarge) && !errors.Is(err, driver.ErrStoreFull)) {
		return err
	}
	err = nil
	for i := range ops {
		if _, alone := c.to.Commit(ctx, rebind.Delta{Ops: ops[i : i+1]}); alone != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", ops[i].Name, alone))
		}
	}
	return err
}

// take returns the oldest changes that wait, as many as fit into a delta. The caller holds
// mu.
func (c *Writer) take() (ops []rebind.Op) {
	size := 0
	for _, n := range c.order {
		content := c.dirty[n.name]
		if content != nil {
			size += len(content.Payload)
		}
		if len(ops) == driver.MaxOps || (len(ops) > 0 && size > batchBytes) {
			break
		}
		ops = append(ops, rebind.Op{Name: n.name, Put: content})
	}
	for i := range ops {
		delete(c.dirty, ops[i].Name)
	}
	c.order = c.order[len(ops):]
	return ops
}

// putBack lets ops wait again, except those that were set anew meanwhile. They are still the
// oldest: nothing is stored before them.
func (c *Writer) putBack(ops []rebind.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := make([]noted, 0, len(ops)+len(c.order))
	for _, op := range ops {
		if _, newer := c.dirty[op.Name]; !newer {
			c.dirty[op.Name] = op.Put
			again = append(again, noted{op.Name, c.stored + 1})
		}
	}
	c.order = append(again, c.order...)
}

// settle records that the changes that were taken are stored, or have failed with err.
func (c *Writer) settle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
	c.stored = c.set
	if len(c.order) > 0 {
		c.stored = c.order[0].set - 1
	}
	c.wakeWaiters()
}

// wakeWaiters wakes all callers that wait. The caller holds mu.
func (c *Writer) wakeWaiters() {
	close(c.moved)
	c.moved = make(chan struct{})
}

func await(ctx context.Context, moved <-chan struct{}) error {
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
