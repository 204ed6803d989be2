package replica_test

import (
	"context"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// shelf is a store that never changes: what it is good for is the view of it.
type shelf struct {
	changes []rebind.Change
	at      rebind.Revision
}

func (s *shelf) Load(_ context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	return s.at, page(driver.Page{Changes: s.changes, Total: int64(len(s.changes))})
}

func (s *shelf) Watch(context.Context, rebind.Revision) driver.Watcher { return quiet{} }

func (s *shelf) Head(context.Context) (rebind.Revision, error) { return s.at, nil }

func (s *shelf) Incarnation() uint64 { return 0 }

func (s *shelf) Tally(context.Context, rebind.Revision) (int64, error) {
	return int64(len(s.changes)), nil
}

func (s *shelf) Restored(uint64, string) error { return driver.ErrRestored }

// quiet is a stream on which nothing happens.
type quiet struct{}

func (quiet) Next(ctx context.Context) (driver.Batch, error) {
	<-ctx.Done()
	return driver.Batch{}, context.Cause(ctx)
}

func (quiet) Progress(context.Context) error { return nil }

func (quiet) Close() {}
