package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is the mirror: it loads all mementos, follows the store, and publishes views.
// confirm.go keeps it current, proof.go proves its past, feed.go and replay.go tell of it.

// Mirror is a copy of all mementos that follows the store. It reads and never
// writes. [Mirror.Run] keeps it current; the other methods may be called from
// any goroutine, before, while and after it runs.
type Mirror struct {
	source driver.Source
	rules  rebind.Rules
	log    *zap.Logger

	writing sync.Mutex      // guards the next fields, and makes views follow each other
	draft   *rebind.Draft   // nil until a load is complete
	heard   rebind.Revision // up to which a stream has brought, or repeated, all there is
	recital recital         // of what the draft was loaded with

	view     atomic.Pointer[rebind.View]
	progress atomic.Pointer[Progress]
	loaded   chan struct{} // closed with the first view, or with refused
	hurry    chan struct{} // asks confirm not to wait; one pending request is enough
	replays  chan struct{} // holds a token for each replay under way
	recalls  chan struct{} // and for each watch that one has open

	mu        sync.Mutex // guards the fields below
	refused   error      // why there will never be a view
	feed      feed
	moved     chan struct{}
	doubt     bool         // since the last stream broke: is the copy's past the store's?
	confirmed clock.Moment // when the last read was sent that found the copy current
}

// Progress tells how far a load has come, in mementos and in bytes that have come.
type Progress struct {
	Loaded, Total, Bytes int64 // Bytes is 0 where the store does not count them
}

// NewMirror returns a mirror of source that is empty until Run has loaded it.
func NewMirror(source driver.Source, rules rebind.Rules, log *zap.Logger) *Mirror {
	m := &Mirror{
		source:  source,
		rules:   rules,
		log:     log,
		loaded:  make(chan struct{}),
		hurry:   make(chan struct{}, 1),
		replays: make(chan struct{}, maxReplays),
		recalls: make(chan struct{}, maxRecalls),
		moved:   make(chan struct{}),
	}
	m.progress.Store(&Progress{})
	return m
}

// Run loads the mirror and follows the store until ctx ends; it returns the
// cause. A store that is away is retried for ever, with the copy kept meanwhile.
// Run returns an [ErrUnusable] if the rules refuse the first load. Call it once.
func (m *Mirror) Run(ctx context.Context) error {
	pause := retry.NewPause(confirmEvery)
	level := zap.WarnLevel // the first failure of a row is news, the others are not
	for {
		began := m.Revision()
		err := m.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrUnusable):
			m.refuse(err)
			return err
		}
		if m.Revision() != began {
			pause.Reset()
			level = zap.WarnLevel
		}
		wait := pause.Next()
		switch {
		case errors.Is(err, driver.ErrCompacted):
			if m.holds() {
				level = zap.WarnLevel // what is lost is news, whatever else was told before
			}
			m.log.Log(level, "watch compacted, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
		case errors.Is(err, driver.ErrRestored):
			m.log.Error("store restored, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
			m.stir() // followers are of the old store
		case errors.Is(err, errUnlike):
			m.log.Error("store broke the order of its changes, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
		case errors.Is(err, errMissed):
			m.log.Debug("mirror not confirmed for a while, proving its past", zap.Error(err))
			continue
		default:
			m.log.Log(level, "mirror interrupted, retrying", zap.Duration("wait", wait), zap.Error(err))
		}
		level = zap.DebugLevel
		if err := retry.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// follow loads the draft if there is none and keeps it current until the watch
// ends.
func (m *Mirror) follow(ctx context.Context) error {
	old := m.holds()
	if !old {
		if err := m.load(ctx); err != nil {
			return fmt.Errorf("load mementos: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	watch := m.source.Watch(ctx, m.resume(old))
	defer watch.Close()
	if m.outlived() { // looked at last: the stream is of the copy's life or ends
		return fmt.Errorf("%w: this copy is of the one before", driver.ErrRestored)
	}
	group.Go(func() error {
		defer m.setDoubt(true)
		if old {
			if err := m.prove(ctx, watch); err != nil {
				return err
			}
		}
		return m.apply(ctx, watch)
	})
	group.Go(func() error { return m.confirm(ctx, watch) })
	return group.Wait()
}

// load reads everything at one revision into a new draft. Readers keep the old
// view until the new one is complete.
func (m *Mirror) load(ctx context.Context) error {
	sent := clock.Now()
	d := &rebind.Draft{Incarnation: m.source.Incarnation()}
	strict := m.View() == nil
	var unusable []rebind.Change
	var p Progress
	at, err := m.source.Load(ctx, func(page driver.Page) error {
		for _, c := range page.Changes {
			c = m.rules.Judge(c)
			d.Load(c)
			if !strict || c.Fault == "" {
				continue
			}
			required, atOnce := m.rules.Requires(c.Name.Type())
			if required {
				unusable = append(unusable, c)
			}
			if atOnce {
				return &UnusableError{Faults: unusable[len(unusable)-1:]}
			}
		}
		p.Loaded += int64(len(page.Changes))
		p.Total, p.Bytes = max(page.Total, p.Loaded), page.Bytes
		now := p
		m.progress.Store(&now)
		return nil
	})
	if err == nil && len(unusable) > 0 {
		err = &UnusableError{Faults: unusable}
	}
	if err != nil {
		return err
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	m.draft, m.heard = d, at
	m.mu.Lock()
	m.feed.restart(at)
	m.doubt = false
	m.mu.Unlock()
	m.publish(d.View(at, m.changes), nil, sent)
	return nil
}

// discard gives the draft up, so that a load has to make another.
func (m *Mirror) discard() {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.draft = nil
}

// holds reports whether there is a draft.
func (m *Mirror) holds() bool {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.draft != nil
}

// apply brings each batch of the watch into the draft, whole, and publishes it.
func (m *Mirror) apply(ctx context.Context, watch driver.Watcher) error {
	for {
		batch, err := watch.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch mementos after revision %d: %w", m.Revision(), err)
		}
		if err := m.take(batch); err != nil {
			return err
		}
	}
}

// take brings a batch into the draft. What it tells of the copy's past, such as of
// what Advance has brought before, has to be what the copy has.
func (m *Mirror) take(batch driver.Batch) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	past, news := split(&batch, m.Revision())
	if err := m.repeated(past); err != nil {
		return err
	}
	m.heard = max(m.heard, batch.Revision)
	if batch.Revision <= m.Revision() {
		return nil
	}
	for i := range news.Changes {
		news.Changes[i] = m.rules.Judge(news.Changes[i])
		m.draft.Apply(news.Changes[i])
	}
	m.publish(m.draft.View(batch.Revision, m.changes), news.Changes, clock.Moment{})
	return nil
}

// publish makes v what readers see, and news what followers are told. A sent that is
// not zero confirms it as of then. The caller holds writing.
func (m *Mirror) publish(v *rebind.View, news []rebind.Change, sent clock.Moment) {
	m.mu.Lock()
	first := m.view.Load() == nil
	m.view.Store(v)
	m.feed.add(news, m.heard)
	if !sent.IsZero() {
		m.confirmed = sent
	}
	moved := m.moved
	m.moved = make(chan struct{})
	m.mu.Unlock()
	close(moved)
	if first {
		close(m.loaded)
	}
}

// changes returns the steps after a revision; ok is false where some of them are no longer
// kept.
func (m *Mirror) changes(after rebind.Revision) (steps []rebind.Step, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.feed.after(after)
}

// stir wakes all who wait for the mirror to move.
func (m *Mirror) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// refuse gives up before there was a view.
func (m *Mirror) refuse(err error) {
	m.mu.Lock()
	m.refused = err
	m.mu.Unlock()
	m.stir()
	close(m.loaded)
}

// outlived reports whether the view is of a store that was replaced since. Readers
// keep it until there is a new one, but what the new store has at a revision is not
// what the old one had.
func (m *Mirror) outlived() bool {
	v := m.View()
	return v != nil && v.Incarnation() != m.source.Incarnation()
}

// View returns the newest view, or nil before the first load is complete.
func (m *Mirror) View() *rebind.View { return m.view.Load() }

// Loaded returns a channel that is closed when the first load is complete, or
// refused by the rules: Refused then says why.
func (m *Mirror) Loaded() <-chan struct{} { return m.loaded }

// Refused returns the [ErrUnusable] of a mirror that will never be loaded.
func (m *Mirror) Refused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// Progress tells how far the present or last load has come.
func (m *Mirror) Progress() Progress { return *m.progress.Load() }

// Revision returns the revision of the newest view, or 0 before there is one.
func (m *Mirror) Revision() rebind.Revision {
	if v := m.view.Load(); v != nil {
		return v.Revision()
	}
	return 0
}

// Staleness returns how long ago the store was asked, when it last turned out
// that the copy was current. Before the first load it is 0.
func (m *Mirror) Staleness() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.confirmed.IsZero() {
		return 0
	}
	return m.confirmed.Age()
}

// Reach blocks until the view's revision is at least to, and returns the cause
// of ctx if that ends first, or why the mirror was refused. It waits for the
// store's changes to arrive, which is enough for a revision that changed a memento;
// and while the stream of them is broken, for the proof that the view is of the
// store that there is then.
func (m *Mirror) Reach(ctx context.Context, to rebind.Revision) error {
	for {
		m.mu.Lock()
		moved, refused := m.moved, m.refused
		m.mu.Unlock()
		if m.reached(to) {
			return nil
		}
		if refused != nil {
			return refused
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// CatchUp is [Mirror.Reach] for any revision of the store: it has the store
// asked at once, since a revision that changed no memento brings no change.
func (m *Mirror) CatchUp(ctx context.Context, to rebind.Revision) error {
	if !m.reached(to) {
		m.ask()
	}
	return m.Reach(ctx, to)
}

// reached reports whether the view is known to show the store at a revision, or at a
// later one.
func (m *Mirror) reached(to rebind.Revision) bool {
	v := m.View()
	return v != nil && v.Revision() >= to && !m.InDoubt() && !m.outlived()
}

// InDoubt reports whether the stream of changes was broken since it was last proved
// that the view is of the store that there is now.
func (m *Mirror) InDoubt() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doubt
}

// ask has the store asked at once whether the copy is current.
func (m *Mirror) ask() {
	select {
	case m.hurry <- struct{}{}:
	default:
	}
}
