// This file reads past revisions from the store.

package httpapi

import (
	"context"
	"fmt"
	"iter"

	"github.com/coordinator-ha/coordinator/rebind"
)

// The past is read in parts of about pastPartSize. The size of mementos is known only after
// they are read, so the number of mementos in a part adapts.
const (
	pastPartSize   = 2 << 20
	firstPartLimit = 16
	maxPartLimit   = 250
)

// pastReader reads the state at a past revision. Like a bufio.Scanner it keeps the error that
// ended the reading.
type pastReader struct {
	ctx    context.Context
	server *Server
	at     rebind.Revision
	err    error
}

func (s *Server) pastReader(ctx context.Context, at rebind.Revision) *pastReader {
	return &pastReader{ctx: ctx, server: s, at: at}
}

// readPast reads a part of the past. Such reads take turns: the store reads from disk for them
// and takes no writes meanwhile.
func (s *Server) readPast(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error) {
	err = s.pastReads.do(ctx, func() error {
		found, more, err = s.node.Past(ctx, at, start, limit)
		return err
	})
	return found, more, err
}

// get returns one memento, or the error that [rebind.View.Get] would return.
func (r *pastReader) get(name rebind.Name) (*rebind.Memento, error) {
	found, _, err := r.server.readPast(r.ctx, r.at, name, 1)
	switch {
	case err != nil:
		r.err = err
		return nil, err
	case len(found) == 0 || found[0].Name != name:
		return nil, rebind.ErrNotFound
	case found[0].Memento == nil:
		return nil, fmt.Errorf("%w since revision %d: %s", rebind.ErrQuarantined, found[0].Revision, found[0].Fault)
	}
	return found[0].Memento, nil
}

// from yields mementos as [rebind.View.From] does.
func (r *pastReader) from(start rebind.Name) iter.Seq[*rebind.Memento] {
	return func(yield func(*rebind.Memento) bool) {
		for limit := firstPartLimit; ; {
			found, more, err := r.server.readPast(r.ctx, r.at, start, limit)
			if err != nil {
				r.err = err
				return
			}
			size := 1
			for _, change := range found {
				if change.Memento == nil {
					continue // quarantined
				}
				size += len(change.Memento.Payload)
				if !yield(change.Memento) {
					return
				}
			}
			if !more || len(found) == 0 {
				return
			}
			start = found[len(found)-1].Name + "\x00" // the smallest name after it
			limit = min(max(len(found)*pastPartSize/size, 1), 4*limit, maxPartLimit)
		}
	}
}
