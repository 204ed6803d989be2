package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is how a mirror finds out whether the store still has the past that it copied.

// A store that was restored from an older copy of its data goes on from there, and may
// soon be at the same revisions again with other content. So once a stream has broken,
// or the store was not heard of for a while, a copy is in doubt until the store has
// proved that the copy's past is its own: the next stream begins at the newest
// memento's revision, or earlier than all that was taken in without a stream, and has
// to repeat each change that the copy knows of since, and no other; and the store has
// to count as many mementos at the copy's revision. With that the newest memento is the
// same too: it was repeated, and nothing after it is unknown.

var (
	// errUnlike is what becomes of a stream that tells of the copy's past what the copy
	// does not have.
	errUnlike = errors.New("the store's changes are not those of this copy")
	// errMissed ends a stream beside which the store was not heard of.
	errMissed = errors.New("the store was not asked")
)

// setDoubt says whether the copy's past has to be proved.
func (m *Mirror) setDoubt(doubt bool) {
	m.mu.Lock()
	m.doubt = doubt
	m.mu.Unlock()
	m.stir()
}

// takesAhead reports whether Advance may take in what the stream has not brought. That
// is kept until the stream has repeated it, so there is a limit. The caller holds
// writing.
func (m *Mirror) takesAhead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.doubt && (!m.feed.full(0) || m.feed.steps[0].Revision <= m.heard)
}

// resume returns the revision after which a stream has to begin, to go on with a new
// copy or to repeat the past of an old one.
func (m *Mirror) resume(old bool) rebind.Revision {
	m.writing.Lock()
	defer m.writing.Unlock()
	if !old {
		return m.heard
	}
	v := m.View()
	m.mu.Lock()
	base, steps := m.feed.base, m.feed.between(0, m.heard)
	m.mu.Unlock()
	from := newest(v, m.heard)
	if from == 0 && len(steps) > 0 { // all that there was is deleted
		from = steps[len(steps)-1].Revision
	}
	if from == 0 {
		return m.heard
	}
	m.heard = from - 1
	m.recital = recital{loose: make(map[rebind.Name]rebind.Revision)}
	if from <= base {
		m.recital.due = modifiedAt(v, from)
	}
	return m.heard
}

// recital is how far a stream has come with repeating changes that are known only by
// what they have left in the copy: they were made before it was loaded.
type recital struct {
	due   int                             // mementos of the copy still to be repeated
	loose map[rebind.Name]rebind.Revision // puts of which the copy has nothing, so that they were undone
}

// hear takes one change that is as old as that.
func (r *recital) hear(v *rebind.View, c *rebind.Change) bool {
	at := v.Modified(c.Name)
	switch {
	case at == c.Revision:
		r.due--
		delete(r.loose, c.Name)
		return like(c, v.Change(c.Name))
	case deletes(c):
		delete(r.loose, c.Name)
		return at == 0 || at > c.Revision
	default:
		r.loose[c.Name] = c.Revision
		return true
	}
}

// complete reports whether everything was repeated, given the steps that the copy has
// seen since it was loaded.
func (r *recital) complete(since []rebind.Step) bool {
	for i := range since {
		for j := range since[i].Changes {
			delete(r.loose, since[i].Changes[j].Name)
		}
	}
	return r.due == 0 && len(r.loose) == 0
}

// split parts what a batch tells of a copy's past from what is new to it.
func split(b *driver.Batch, at rebind.Revision) (past, news driver.Batch) {
	n := slices.IndexFunc(b.Changes, func(c rebind.Change) bool { return c.Revision > at })
	if n < 0 {
		n = len(b.Changes)
	}
	return driver.Batch{Revision: min(b.Revision, at), Changes: b.Changes[:n]}, driver.Batch{Revision: b.Revision, Changes: b.Changes[n:]}
}

// repeated checks what a stream tells of the copy's past: that it is what the copy
// has, and all of it. The caller holds writing.
func (m *Mirror) repeated(past driver.Batch) error {
	m.mu.Lock()
	base, have := m.feed.base, m.feed.between(m.heard, past.Revision)
	before := m.feed.between(base, m.heard)
	m.mu.Unlock()
	v := m.View()
	var told []rebind.Change
	for i := range past.Changes {
		c, ok := past.Changes[i], true
		switch {
		case c.Revision <= m.heard: // late: the stream had said that it was past that
			c = m.rules.Judge(c)
			ok = like(&c, v.Change(c.Name)) || hasStep(before, &c)
		case c.Revision <= base:
			c = m.rules.Judge(c)
			ok = m.recital.hear(v, &c)
		default:
			told = append(told, c)
		}
		if !ok {
			return unlike(c.Name, c.Revision)
		}
	}
	if m.heard < base && past.Revision >= base && !m.recital.complete(m.kept(base)) {
		return fmt.Errorf("%w: of those up to revision %d not all are the same", errUnlike, base)
	}
	return compare(&m.rules, have, appendSteps(nil, told))
}

// kept returns the steps after a revision.
func (m *Mirror) kept(after rebind.Revision) []rebind.Step {
	m.mu.Lock()
	defer m.mu.Unlock()
	steps, _ := m.feed.after(after)
	return steps
}

// compare checks that two rows of steps are the same.
func compare(r *rebind.Rules, have, told []rebind.Step) error {
	for i := range max(len(have), len(told)) {
		switch {
		case i == len(told), i < len(have) && have[i].Revision < told[i].Revision:
			return unlike(have[i].Changes[0].Name, have[i].Revision)
		case i == len(have), have[i].Revision != told[i].Revision:
			return unlike(told[i].Changes[0].Name, told[i].Revision)
		case len(have[i].Changes) != len(told[i].Changes):
			return fmt.Errorf("%w: it has %d of revision %d, and this copy %d",
				errUnlike, len(told[i].Changes), have[i].Revision, len(have[i].Changes))
		}
		for j := range told[i].Changes {
			c := told[i].Changes[j]
			if hasStep(have[i:i+1], &c) {
				continue
			}
			if c = r.Judge(c); !hasStep(have[i:i+1], &c) {
				return unlike(c.Name, c.Revision)
			}
		}
	}
	return nil
}

func unlike(name rebind.Name, at rebind.Revision) error {
	return fmt.Errorf("%w: %s at revision %d", errUnlike, name, at)
}

// hasStep reports whether a change is among those of some steps.
func hasStep(steps []rebind.Step, c *rebind.Change) bool {
	i, found := slices.BinarySearchFunc(steps, c.Revision, func(s rebind.Step, at rebind.Revision) int { return int(s.Revision - at) })
	return found && slices.ContainsFunc(steps[i].Changes, func(have rebind.Change) bool { return have.Name == c.Name && like(c, have) })
}

// deletes reports whether nothing is left of the memento.
func deletes(c *rebind.Change) bool { return c.Memento == nil && c.Fault == "" }

// like reports whether another change of the same memento is the same.
func like(c *rebind.Change, other rebind.Change) bool {
	a, b := c.Memento, other.Memento
	if a == nil || b == nil {
		return a == b && c.Fault == other.Fault && c.Revision == other.Revision
	}
	return a.Parent == b.Parent && a.ContentType == b.ContentType && a.Schema == b.Schema &&
		a.Created == b.Created && a.Modified == b.Modified && a.Version == b.Version && a.By == b.By &&
		bytes.Equal(a.Payload, b.Payload)
}

// prove has a stream repeat the past of the copy, and compares how many mementos there
// were at its revision. It asks for progress by way of confirm.
func (m *Mirror) prove(ctx context.Context, watch driver.Watcher) error {
	m.ask()
	v := m.View()
	rest := driver.Batch{Revision: m.resumed()}
	for rest.Revision < v.Revision() {
		batch, err := watch.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch mementos up to revision %d: %w", v.Revision(), err)
		}
		var past driver.Batch
		past, rest = split(&batch, v.Revision())
		if err := m.take(past); err != nil {
			return m.disown(v, err.Error())
		}
	}
	count, err := m.source.Tally(ctx, v.Revision())
	switch has := int64(v.Len() + v.FaultCount()); {
	case errors.Is(err, driver.ErrAhead):
		return m.disown(v, fmt.Sprintf("it has not come to revision %d", v.Revision()))
	case err != nil:
		return fmt.Errorf("count mementos at revision %d: %w", v.Revision(), err)
	case count != has:
		return m.disown(v, fmt.Sprintf("at revision %d it has %d mementos, this copy %d", v.Revision(), count, has))
	}
	m.setDoubt(false)
	return m.take(rest)
}

// resumed returns how far the stream is taken to have come.
func (m *Mirror) resumed() rebind.Revision {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.heard
}

// disown says of a view that the store is not the one it was taken of.
func (m *Mirror) disown(v *rebind.View, why string) error {
	return m.source.Restored(v.Incarnation(), why)
}

// newest returns the revision of the memento that was changed last up to a revision, 0
// if there is none. It looks at all of them.
func newest(v *rebind.View, upTo rebind.Revision) (at rebind.Revision) {
	for m := range v.From("") {
		if m.Modified <= upTo {
			at = max(at, m.Modified)
		}
	}
	for _, f := range v.Faults() {
		if f.Revision <= upTo {
			at = max(at, f.Revision)
		}
	}
	return at
}

// modifiedAt counts the mementos that were last changed at a revision.
func modifiedAt(v *rebind.View, at rebind.Revision) (n int) {
	for m := range v.From("") {
		if m.Modified == at {
			n++
		}
	}
	for _, f := range v.Faults() {
		if f.Revision == at {
			n++
		}
	}
	return n
}
