package rebind_test

import (
	"context"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/rebind"
)

// shelf is a store that never changes: what it is good for is the view of it.
type shelf struct {
	changes []rebind.Change
	at      rebind.Revision
}

func (s *shelf) Load(_ context.Context, page func(rebind.Page) error) (rebind.Revision, error) {
	return s.at, page(rebind.Page{Changes: s.changes, Total: int64(len(s.changes))})
}

func (s *shelf) Watch(context.Context, rebind.Revision) rebind.Watcher { return quiet{} }

func (s *shelf) Head(context.Context) (rebind.Revision, error) { return s.at, nil }

func (s *shelf) Life() uint64 { return 0 }

func (s *shelf) Tally(context.Context, rebind.Revision) (int64, error) {
	return int64(len(s.changes)), nil
}

func (s *shelf) Restored(uint64, string) error { return rebind.ErrRestored }

// quiet is a stream on which nothing happens.
type quiet struct{}

func (quiet) Next(ctx context.Context) (rebind.Batch, error) {
	<-ctx.Done()
	return rebind.Batch{}, context.Cause(ctx)
}

func (quiet) Progress(context.Context) error { return nil }

func (quiet) Close() {}

// viewOf makes a view the way every view is made: a mirror loads it. The
// mementos come at revisions 1, 2, 3 in the order given.
func viewOf(mementos ...*rebind.Memento) *rebind.View {
	s := &shelf{at: rebind.Revision(len(mementos))}
	for i := range mementos {
		m := &rebind.Memento{Name: mementos[i].Name, Content: mementos[i].Content, Created: rebind.Revision(i + 1), Modified: rebind.Revision(i + 1), Version: 1}
		s.changes = append(s.changes, rebind.Change{Name: m.Name, Memento: m, Revision: m.Modified})
	}
	return s.view()
}

func (s *shelf) view() *rebind.View {
	slices.SortFunc(s.changes, func(a, b rebind.Change) int { return strings.Compare(string(a.Name), string(b.Name)) })
	ctx, cancel := context.WithCancel(context.Background())
	m := rebind.NewMirror(s, rebind.Rules{}, zap.NewNop())
	var running sync.WaitGroup
	running.Go(func() { _ = m.Run(ctx) }) // the cause is the cancel below
	<-m.Loaded()
	cancel()
	running.Wait()
	return m.View()
}

// child is a memento that has a parent, or has none.
func child(name, parent string) *rebind.Memento {
	return &rebind.Memento{Name: rebind.Name(name), Content: rebind.Content{Parent: rebind.Name(parent)}}
}

// namesOf lists the names of mementos.
func namesOf(mementos []*rebind.Memento) []string {
	list := make([]string, len(mementos))
	for i, m := range mementos {
		list[i] = string(m.Name)
	}
	return list
}
