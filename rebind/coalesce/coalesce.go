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

// batchBytes bounds the payloads that are stored together, so that nothing waits for the
// transfer of many others.
const batchBytes = 256 << 10

// Committer stores deltas. A Leader of package coordinator is one, and so is a Node.
type Committer interface {
	Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error)
}

// Writer writes mementos for a program that changes the same ones often: of
// several changes of a memento it stores the latest. It acknowledges nothing that is
// not stored: Set only takes note, and [Writer.Flush] returns when what was set
// before it is in the store. Its methods may be called from any goroutine.
type Writer struct {
	to Committer

	mu     sync.Mutex // guards the fields below
	dirty  map[rebind.Name]*rebind.Content
	order  []noted       // what is in dirty, the oldest first
	set    uint64        // changes ever noted
	stored uint64        // all changes up to this one are stored, or failed
	failed error         // of those that no Flush has told of yet
	moved  chan struct{} // closed at each change of the above
}

// noted is a memento that waits, since the change of that number.
type noted struct {
	name rebind.Name
	set  uint64
}

// New returns a writer that writes through to while Run runs.
func New(to Committer) *Writer {
	return &Writer{to: to, dirty: make(map[rebind.Name]*rebind.Content), moved: make(chan struct{})}
}

// Set notes what a memento is to be; nil deletes it. It blocks while too many others
// wait, and returns the cause of ctx if that ends first. The payload must not be
// changed afterwards.
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
			c.stir()
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

// Flush blocks until everything set before the call is stored. It returns what could
// not be stored since the last Flush and why, each once, or the cause of ctx if that
// ends first; then nothing is known.
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

// Run stores what is set until ctx ends or the store takes no more writes of this
// term; it returns why. What is then not stored is lost, and no Flush says
// otherwise. A store that is away is tried again.
func (c *Writer) Run(ctx context.Context) error {
	pause := retry.NewPause(time.Second)
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

// store commits ops together or, if the store will not have them so, one by one.
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

// take takes the oldest that wait, as many as fit into a delta; the caller holds mu.
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

// putBack has ops wait again, but for those that were set anew meanwhile. They are
// the oldest still: nothing is stored before them.
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

// settle says that what was taken is stored, or failed with err.
func (c *Writer) settle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
	c.stored = c.set
	if len(c.order) > 0 {
		c.stored = c.order[0].set - 1
	}
	c.stir()
}

// stir wakes all who wait; the caller holds mu.
func (c *Writer) stir() {
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
