// This file writes what an archive and the state differ in.

package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// importBytes limits the payloads in one delta of an import, so that the delta fits the
	// store's request limit. A memento larger than that gets a delta of its own.
	importBytes = 256 << 10
	// importWriters limits the deltas in flight, and so the memory that an import takes.
	importWriters = 8
	// maxNames limits the names of each kind in the answer to a dry run.
	maxNames = 100
)

// importer merges an archive and a view, both in the order of their names, and writes what
// differs.
type importer struct {
	server  *Server
	view    *rebind.View
	opts    importOptions
	ctx     context.Context // of the client's request
	group   *errgroup.Group
	running context.Context // ends when a delta has failed

	next    func() (*rebind.Memento, bool) // over the view
	stop    func()
	current *rebind.Memento // position in the view; nil at its end

	result       wire.Imported
	changedNames wire.ImportNames
	ops          []rebind.Op
	bytes        int

	mu       sync.Mutex // guards the fields below
	written  int        // mementos
	unknown  bool       // the outcome of some delta is unknown
	revision rebind.Revision
}

func newImporter(ctx context.Context, s *Server, view *rebind.View, q importOptions) *importer {
	i := &importer{server: s, view: view, opts: q, ctx: ctx, revision: view.Revision()}
	i.group, i.running = errgroup.WithContext(ctx)
	i.group.SetLimit(importWriters)
	i.changedNames = wire.ImportNames{Created: []string{}, Changed: []string{}, Deleted: []string{}}
	i.next, i.stop = iter.Pull(view.From(""))
	i.current, _ = i.next()
	return i
}

// compare compares the next memento of the archive with the view.
func (i *importer) compare(name rebind.Name, c *rebind.Content) error {
	for i.current != nil && i.current.Name < name {
		i.skip()
	}
	switch {
	case i.current == nil || i.current.Name != name:
		i.add(rebind.Op{Name: name, Put: c})
	case sameContent(&i.current.Content, c):
		i.result.Unchanged++
		i.current, _ = i.next()
	default:
		i.current, _ = i.next()
		i.count(&i.result.Changed, &i.changedNames.Changed, name)
		i.queue(rebind.Op{Name: name, Put: c})
	}
	return context.Cause(i.running) // a delta failed, or the client is gone
}

// add writes a memento that the view does not have, or has in quarantine.
func (i *importer) add(op rebind.Op) {
	if _, err := i.view.Get(op.Name); errors.Is(err, rebind.ErrQuarantined) {
		i.count(&i.result.Changed, &i.changedNames.Changed, op.Name)
	} else {
		i.count(&i.result.Created, &i.changedNames.Created, op.Name)
	}
	i.queue(op)
}

// skip advances past a memento that the archive does not have, and deletes it if the import
// replaces the state.
func (i *importer) skip() {
	if i.opts.replace {
		i.count(&i.result.Deleted, &i.changedNames.Deleted, i.current.Name)
		i.queue(rebind.Op{Name: i.current.Name})
	}
	i.current, _ = i.next()
}

// skipRest does so for everything in the view after the archive's end.
func (i *importer) skipRest() {
	for i.current != nil && i.running.Err() == nil {
		i.skip()
	}
}

func (i *importer) count(kind *int64, names *[]string, name rebind.Name) {
	*kind++
	if i.opts.dryRun && len(*names) < maxNames {
		*names = append(*names, string(name))
	}
}

func sameContent(a, b *rebind.Content) bool {
	return a.Parent == b.Parent && a.ContentType == b.ContentType && a.Schema == b.Schema && bytes.Equal(a.Payload, b.Payload)
}

// queue adds an operation to the next delta.
func (i *importer) queue(op rebind.Op) {
	size := 0
	if op.Put != nil {
		size = len(op.Put.Payload)
	}
	if len(i.ops) == driver.MaxOps || i.bytes+size > importBytes {
		i.write()
	}
	if !i.opts.dryRun {
		i.ops, i.bytes = append(i.ops, op), i.bytes+size
	}
}

// write commits the queued operations as one delta, in parallel with others. It blocks while
// too many are in flight. When one delta fails the others in flight still finish, so that their
// outcome is known.
func (i *importer) write() {
	ops := i.ops
	i.ops, i.bytes = nil, 0
	if len(ops) == 0 {
		return
	}
	i.group.Go(func() error {
		if i.running.Err() != nil {
			return context.Cause(i.running)
		}
		receipt, err := i.server.commit(i.ctx, ops...)
		i.mu.Lock()
		defer i.mu.Unlock()
		if err != nil {
			i.unknown = i.unknown || errors.Is(err, rebind.ErrUnknown)
			return err
		}
		i.written += len(ops)
		i.revision = max(i.revision, receipt.Revision)
		return nil
	})
}

// finish waits for the deltas in flight and returns the result. err is the reason why the
// archive was not read to its end.
func (i *importer) finish(err error) (*wire.Imported, error) {
	i.stop()
	if err == nil {
		i.write()
	}
	if failed := i.group.Wait(); failed != nil {
		err = failed
	}
	switch {
	case err == nil:
	case i.written == 0 && !i.unknown:
		return nil, err
	default:
		// Some mementos are written, so the import was not refused as a whole. An error in a
		// row above "unknown" in the table of statuses keeps its own status.
		return nil, fmt.Errorf("%w: the import ended after %d mementos were written; import the same archive again to complete it: %w", rebind.ErrUnknown, i.written, err)
	}
	i.result.Revision = int64(i.revision)
	if i.opts.dryRun {
		i.result.DryRun, i.result.Names = true, &i.changedNames
	}
	return &i.result, nil
}
