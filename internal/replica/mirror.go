package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// This file holds Mirror and all that keeps it current: the load, the watch, the own writes, the
// confirmations, and the proof that follows a broken watch. Run and the goroutines that it starts
// call it; Advance is called by the persister. What readers call is in mirror_read.go.

const (
	// confirmEvery is how often a mirror asks for the store's revision.
	confirmEvery = time.Second
	// progressRetry is how long a mirror waits for the answer to a progress request.
	// etcd drops such a request while a watcher is catching up,
	// which takes it up to 100 ms.
	progressRetry = 150 * time.Millisecond
	// headTimeout bounds one read of the store's revision.
	headTimeout = 2 * time.Second
	// missedAfter is the time without a confirmation after which the copy's past has to be
	// proved again: the process may have been paused.
	missedAfter = confirmEvery + headTimeout
)

// Mirror is a copy of all mementos that follows the store. It reads the store and never
// writes to it. [Mirror.Run] keeps it current; the other methods may be called from any
// goroutine, before, while and after Run runs.
type Mirror struct {
	source driver.Source
	rules  rebind.Rules
	log    *zap.Logger

	writing   sync.Mutex      // guards the fields up to the next blank line, and orders the views
	draft     *rebind.Draft   // nil until a load is complete
	streamed  rebind.Revision // up to which the watch has brought, or repeated, all changes
	pastCheck pastCheck       // of the changes from before the load

	view          atomic.Pointer[rebind.View]
	progress      atomic.Pointer[Progress]
	loaded        chan struct{} // closed with the first view, or with refused
	confirmNow    chan struct{} // asks confirmLoop not to wait; one pending request is enough
	replays       chan struct{} // holds a token for each replay under way
	replayWatches chan struct{} // holds a token for each watch that one of them has open

	mu        sync.Mutex // guards the fields below
	refused   error      // why there is never a view
	feed      feed
	moved     chan struct{} // closed at the next change of the view or of doubt
	doubt     bool          // the watch broke, and the copy's past is not proved since
	confirmed clock.Moment  // when the last read was sent that found the copy current
}

// NewMirror returns a mirror of source. It is empty until Run has loaded it.
func NewMirror(source driver.Source, rules rebind.Rules, log *zap.Logger) *Mirror {
	m := &Mirror{
		source:        source,
		rules:         rules,
		log:           log,
		loaded:        make(chan struct{}),
		confirmNow:    make(chan struct{}, 1),
		replays:       make(chan struct{}, maxReplays),
		replayWatches: make(chan struct{}, maxReplayWatches),
		moved:         make(chan struct{}),
	}
	m.progress.Store(&Progress{})
	return m
}

// Run loads the mirror and follows the store until ctx ends; it returns the cause. While
// the store cannot be reached Run tries again without limit, and keeps the copy. It returns
// an [ErrUnusable] if the rules refuse the first load. Call it once.
func (m *Mirror) Run(ctx context.Context) error {
	pause := retry.NewBackoff(confirmEvery)
	level := zap.WarnLevel // of the first failure of a series; the rest are logged at debug
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
			if m.hasDraft() {
				level = zap.WarnLevel // a copy is lost: that is a warning in any series
			}
			m.log.Log(level, "watch compacted, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
		case errors.Is(err, driver.ErrRestored):
			m.log.Error("store restored, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
			m.wakeWaiters() // callers of Steps follow the old store
		case errors.Is(err, errMismatch):
			m.log.Error("store broke the order of its changes, reloading mirror", zap.Int64("rev", int64(m.Revision())), zap.Error(err))
			m.discard()
		case errors.Is(err, errUnconfirmed):
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

// follow loads the draft if there is none, and keeps it current until the watch ends.
func (m *Mirror) follow(ctx context.Context) error {
	old := m.hasDraft()
	if !old {
		if err := m.load(ctx); err != nil {
			return fmt.Errorf("load mementos: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	watch := m.source.Watch(ctx, m.resume(old))
	defer watch.Close()
	if m.storeReplaced() { // checked after the watch was opened: it is of the copy's store, or ends
		return fmt.Errorf("%w: this copy is of the store before", driver.ErrRestored)
	}
	group.Go(func() error {
		defer m.setDoubt(true)
		if old {
			if err := m.prove(ctx, watch); err != nil {
				return err
			}
		}
		return m.applyLoop(ctx, watch)
	})
	group.Go(func() error { return m.confirmLoop(ctx, watch) })
	return group.Wait()
}

// load reads everything at one revision into a new draft. Readers keep the old view until
// the new one is complete.
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
	m.draft, m.streamed = d, at
	m.mu.Lock()
	m.feed.restart(at)
	m.doubt = false
	m.mu.Unlock()
	m.publish(d.View(at, m.stepsAfter), nil, sent)
	return nil
}

// discard drops the draft, so that the next follow loads another.
func (m *Mirror) discard() {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.draft = nil
}

// hasDraft reports whether there is a draft.
func (m *Mirror) hasDraft() bool {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.draft != nil
}

// applyLoop applies each batch of the watch to the draft, as a whole, and publishes the
// view.
func (m *Mirror) applyLoop(ctx context.Context, watch driver.Watcher) error {
	for {
		batch, err := watch.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch mementos after revision %d: %w", m.Revision(), err)
		}
		if err := m.applyBatch(batch); err != nil {
			return err
		}
	}
}

// applyBatch applies one batch to the draft. The part of it that is not newer than the
// copy, such as the own writes that Advance has applied, is compared with the copy instead.
func (m *Mirror) applyBatch(batch driver.Batch) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	past, newer := split(&batch, m.Revision())
	if err := m.checkPast(past); err != nil {
		return err
	}
	m.streamed = max(m.streamed, batch.Revision)
	if batch.Revision <= m.Revision() {
		return nil
	}
	for i := range newer.Changes {
		newer.Changes[i] = m.rules.Judge(newer.Changes[i])
		m.draft.Apply(newer.Changes[i])
	}
	m.publish(m.draft.View(batch.Revision, m.stepsAfter), newer.Changes, clock.Moment{})
	return nil
}

// Advance applies writes that the store has made at revision at, so that nobody has to wait
// for the watch to bring them. It does so only if the copy has everything before that
// revision and is not in doubt; otherwise the watch brings them. Deletions alone are always
// left to the watch: if the answer to them was lost, their revision is only an upper bound,
// and may be that of another write.
func (m *Mirror) Advance(writes []driver.Write, at rebind.Revision) {
	if !slices.ContainsFunc(writes, func(w driver.Write) bool { return w.Put != nil }) {
		return
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.draft == nil || m.Revision() != at-1 || m.storeReplaced() || !m.mayAdvance() {
		return
	}
	changes := make([]rebind.Change, 0, len(writes))
	for i := range writes {
		w := &writes[i]
		c := rebind.Change{Name: w.Name, Revision: at}
		if w.Put != nil {
			var ok bool
			if c.Memento, ok = m.draft.Next(&w.Op, driver.MarkOf(w.ID), w.Base, at); !ok {
				return
			}
		} else if w.Base == 0 {
			continue // nothing was deleted
		}
		changes = append(changes, m.rules.Judge(c))
	}
	for _, c := range changes {
		m.draft.Apply(c)
	}
	m.publish(m.draft.View(at, m.stepsAfter), changes, clock.Moment{})
}

// mayAdvance reports whether Advance may apply what the watch has not brought. Such changes
// are kept until the watch has repeated them, so there is a limit. The caller holds
// writing.
func (m *Mirror) mayAdvance() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.doubt && (!m.feed.full(0) || m.feed.steps[0].Revision <= m.streamed)
}

// publish makes v the view that readers get, and adds changes to the feed. If sent is not
// zero, the copy is confirmed as of then. The caller holds writing.
func (m *Mirror) publish(v *rebind.View, changes []rebind.Change, sent clock.Moment) {
	m.mu.Lock()
	first := m.view.Load() == nil
	m.view.Store(v)
	m.feed.add(changes, m.streamed)
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

// stepsAfter returns the steps after a revision; ok is false if some of them are no longer
// kept.
func (m *Mirror) stepsAfter(after rebind.Revision) (steps []rebind.Changeset, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.feed.after(after)
}

// wakeWaiters wakes all callers that wait for the mirror to change.
func (m *Mirror) wakeWaiters() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// refuse ends the mirror before it had a view.
func (m *Mirror) refuse(err error) {
	m.mu.Lock()
	m.refused = err
	m.mu.Unlock()
	m.wakeWaiters()
	close(m.loaded)
}

// storeReplaced reports whether the store was replaced since the view was loaded. Readers
// keep the view until there is a new one, but its revisions are not those of the new store.
func (m *Mirror) storeReplaced() bool {
	v := m.View()
	return v != nil && v.Incarnation() != m.source.Incarnation()
}

// confirmLoop asks for the store's revision once a second, or at once if a caller waits for
// that, and waits until the copy has reached it. If the store could not be asked for a
// while, confirmLoop ends the watch: the next one begins with a proof.
func (m *Mirror) confirmLoop(ctx context.Context, watch driver.Watcher) error {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	last, missed := clock.Now(), false
	for {
		select {
		case <-tick.C:
		case <-m.confirmNow:
			// The caller that waits has a revision already. To ask the watch at once most
			// often saves the wait for the store's revision.
			if err := watch.Progress(ctx); err != nil {
				return fmt.Errorf("ask for progress of the watch: %w", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		sent := clock.Now()
		head, err := m.headWithTimeout(ctx)
		switch {
		case errors.Is(err, driver.ErrRestored):
			return err
		case m.storeReplaced():
			return fmt.Errorf("%w: this copy is of the store before", driver.ErrRestored)
		case err != nil:
			m.log.Debug("store's revision not read", zap.Error(err))
			missed = true
			continue
		case missed, last.Age()-sent.Age() > missedAfter:
			return fmt.Errorf("%w for %s", errUnconfirmed, last.Age())
		}
		last = sent
		if err := m.progressUntil(ctx, watch, head); err != nil {
			return err
		}
		m.setConfirmed(sent)
	}
}

// setConfirmed notes that a read sent at that moment found the copy to be current.
func (m *Mirror) setConfirmed(sent clock.Moment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.confirmed.IsZero() || sent.Age() < m.confirmed.Age() {
		m.confirmed = sent
	}
}

// head asks the store for its revision. If that is lower than the copy's, the store was
// restored.
func (m *Mirror) head(ctx context.Context) (rebind.Revision, error) {
	v := m.View()
	head, err := m.source.Head(ctx)
	if err == nil && v != nil && head < v.Revision() {
		return 0, m.source.Restored(v.Incarnation(), fmt.Sprintf("it is at revision %d, this copy at %d", head, v.Revision()))
	}
	return head, err
}

// headWithTimeout is head, bounded by headTimeout.
func (m *Mirror) headWithTimeout(ctx context.Context) (rebind.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return m.head(ctx)
}

// progressUntil asks the watch for progress until the copy has reached the revision to, and
// is not in doubt.
func (m *Mirror) progressUntil(ctx context.Context, watch driver.Watcher, to rebind.Revision) error {
	for !m.reached(to) {
		if err := watch.Progress(ctx); err != nil {
			return fmt.Errorf("ask for progress of the watch: %w", err)
		}
		wait, cancel := context.WithTimeout(ctx, progressRetry)
		_ = m.Reach(wait, to) // not in time: ask again
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// requestConfirm has confirmLoop ask the store at once.
func (m *Mirror) requestConfirm() {
	select {
	case m.confirmNow <- struct{}{}:
	default:
	}
}

// setDoubt sets whether the copy's past has to be proved.
func (m *Mirror) setDoubt(doubt bool) {
	m.mu.Lock()
	m.doubt = doubt
	m.mu.Unlock()
	m.wakeWaiters()
}

// resume returns the revision after which a watch has to begin: to go on with a new copy,
// or to repeat the past of an old one.
func (m *Mirror) resume(old bool) rebind.Revision {
	m.writing.Lock()
	defer m.writing.Unlock()
	if !old {
		return m.streamed
	}
	v := m.View()
	m.mu.Lock()
	base, steps := m.feed.base, m.feed.between(0, m.streamed)
	m.mu.Unlock()
	from, count := newest(v, m.streamed)
	if from == 0 && len(steps) > 0 { // all mementos are deleted
		from = steps[len(steps)-1].Revision
	}
	if from == 0 {
		return m.streamed
	}
	m.streamed = from - 1
	m.pastCheck = pastCheck{undone: make(map[rebind.Name]rebind.Revision)}
	if from <= base {
		m.pastCheck.remaining = count
	}
	return m.streamed
}

// prove has the watch repeat the copy's past, and then compares the number of mementos at
// the copy's revision with the store's. confirmLoop asks for the progress that this needs.
func (m *Mirror) prove(ctx context.Context, watch driver.Watcher) error {
	m.requestConfirm()
	v := m.View()
	rest := driver.Batch{Revision: m.streamedTo()}
	for rest.Revision < v.Revision() {
		batch, err := watch.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch mementos up to revision %d: %w", v.Revision(), err)
		}
		var past driver.Batch
		past, rest = split(&batch, v.Revision())
		if err := m.applyBatch(past); err != nil {
			return m.reportRestored(v, err.Error())
		}
	}
	count, err := m.source.Tally(ctx, v.Revision())
	switch has := int64(v.Len() + v.FaultCount()); {
	case errors.Is(err, driver.ErrAhead):
		return m.reportRestored(v, fmt.Sprintf("it has not come to revision %d", v.Revision()))
	case err != nil:
		return fmt.Errorf("count mementos at revision %d: %w", v.Revision(), err)
	case count != has:
		return m.reportRestored(v, fmt.Sprintf("at revision %d it has %d mementos, this copy %d", v.Revision(), count, has))
	}
	m.setDoubt(false)
	return m.applyBatch(rest)
}

// checkPast checks the part of a batch that is not newer than the copy: each change has to
// be in the copy, and none may be missing. The caller holds writing.
func (m *Mirror) checkPast(past driver.Batch) error {
	m.mu.Lock()
	base, kept := m.feed.base, m.feed.between(m.streamed, past.Revision)
	before := m.feed.between(base, m.streamed)
	since, _ := m.feed.after(base)
	m.mu.Unlock()
	v := m.View()
	var repeated []rebind.Change
	for i := range past.Changes {
		c, same := past.Changes[i], true
		switch {
		case c.Revision <= m.streamed: // the watch had already reported progress past it
			c = m.rules.Judge(c)
			same = sameChange(&c, v.Change(c.Name)) || containsChange(before, &c)
		case c.Revision <= base:
			c = m.rules.Judge(c)
			same = m.pastCheck.add(v, &c)
		default:
			repeated = append(repeated, c)
		}
		if !same {
			return mismatch(c.Name, c.Revision)
		}
	}
	if m.streamed < base && past.Revision >= base && !m.pastCheck.complete(since) {
		return fmt.Errorf("%w: not all changes up to revision %d are the same", errMismatch, base)
	}
	return compare(&m.rules, kept, appendSteps(nil, repeated))
}

// streamedTo returns how far the watch has come.
func (m *Mirror) streamedTo() rebind.Revision {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.streamed
}

// reportRestored reports to the source that the store is not the one that v was loaded
// from.
func (m *Mirror) reportRestored(v *rebind.View, why string) error {
	return m.source.Restored(v.Incarnation(), why)
}
