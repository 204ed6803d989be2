package rebind

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coordinator-ha/coordinator/internal/retry"
)

// Kind is the mementos of one type, read and written as values of T. It holds no
// state of the plane: reads are of a [View], writes go to a [Committer]. Make one for
// each type, once, and use it from any goroutine.
//
// A value is decoded when it is first read, once for each revision of its memento, and
// shared by all who read it from then on: what a T points to must not be changed.
type Kind[T any] struct {
	typ      string
	codec    Codec[T]
	upgrades []Upgrade
}

// Upgrade turns a payload of one schema version into one of the next. It must not
// change the payload that it is given, and may be called from any goroutine.
type Upgrade func(payload []byte) ([]byte, error)

// JSON returns the kind of mementos of the type typ that hold a T as encoding/json
// writes it. With upgrades it is that of [NewKind].
func JSON[T any](typ string, upgrades ...Upgrade) *Kind[T] {
	return NewKind[T](typ, jsonCodec[T]{}, upgrades...)
}

// NewKind returns the kind of mementos of the type typ in a format of one's own. A typ
// that cannot be one is told by the first write, which returns an [ErrInvalid].
//
// Values are written under the schema version len(upgrades). One that was stored under
// an older version n is read through upgrades[n], upgrades[n+1] and so on; what is
// stored stays as it is until it is put again.
func NewKind[T any](typ string, codec Codec[T], upgrades ...Upgrade) *Kind[T] {
	return &Kind[T]{typ: typ, codec: codec, upgrades: upgrades}
}

// Entry is one value with its place in the store.
type Entry[T any] struct {
	ID    string
	Value T
	// Modified is the revision that last put it, for [ExpectRevision].
	Modified Revision
	// Parent is the memento that it belongs to, or empty.
	Parent Name
}

// Get returns the value of an id. The error is [ErrNotFound], or wraps
// [ErrQuarantined] where the stored value cannot be read or its payload not be decoded.
func (k *Kind[T]) Get(v *View, id string) (Entry[T], error) {
	m, err := v.Get(Name(k.typ + "/" + id))
	if err != nil {
		return Entry[T]{}, err
	}
	return k.entry(m)
}

// List yields the values whose ids begin with prefix, in the order of the ids. One that
// cannot be decoded comes with its ID and an error that wraps [ErrQuarantined].
func (k *Kind[T]) List(v *View, prefix string) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		for m := range v.OfType(k.typ, prefix) {
			if !yield(k.entry(m)) {
				return
			}
		}
	}
}

// All yields all values, as List does.
func (k *Kind[T]) All(v *View) iter.Seq2[Entry[T], error] { return k.List(v, "") }

// Op returns the operation that puts a value, to be part of a [Delta]. Nothing is
// expected of what is there, unless expect says so: [ExpectAbsent] creates, and
// [ExpectRevision] replaces what was read. The error is the codec's.
func (k *Kind[T]) Op(id string, value T, expect ...Expect) (Op, error) {
	payload, err := k.codec.Encode(value)
	if err != nil {
		return Op{}, fmt.Errorf("encode %s/%s: %w", k.typ, id, err)
	}
	op := k.op(id, expect)
	op.Put = &Content{ContentType: k.codec.ContentType(), Schema: int64(len(k.upgrades)), Payload: payload}
	return op, nil
}

// op is an operation on an id that deletes it. Of several expectations the last counts.
func (k *Kind[T]) op(id string, expect []Expect) Op {
	op := Op{Name: Name(k.typ + "/" + id)}
	for _, e := range expect {
		op.Expect = e
	}
	return op
}

// Put stores a value, in a delta of its own, and returns when it is durable. See Op for
// expect; one that is not met is an [ErrConflict], and other errors are those of to.
func (k *Kind[T]) Put(ctx context.Context, to Committer, id string, value T, expect ...Expect) (Receipt, error) {
	op, err := k.Op(id, value, expect...)
	if err != nil {
		return Receipt{}, err
	}
	return to.Commit(ctx, Delta{Ops: []Op{op}})
}

// Delete deletes the value of an id, as Put puts one. That there is none is no error,
// unless expect says so.
func (k *Kind[T]) Delete(ctx context.Context, to Committer, id string, expect ...Expect) (Receipt, error) {
	return to.Commit(ctx, Delta{Ops: []Op{k.op(id, expect)}})
}

// Committer stores deltas: a leader is one, and so is a node.
type Committer interface {
	Commit(ctx context.Context, d Delta) (Receipt, error)
}

// Shared is state that can be read and changed: mastership is one.
type Shared interface {
	Committer
	View() *View
}

// Update replaces the value of an id by what change makes of it. If somebody else
// changes it meanwhile it begins again with what is there then, until ctx ends; so
// change may be called more than once, and must not change what its argument points to.
// Its error ends the update and is returned as it is, and nothing was written. The
// parent is kept.
//
// There being no value is an [ErrNotFound]; an [ErrUnknown] is returned and not tried
// again, since the change may have been made.
func (k *Kind[T]) Update(ctx context.Context, state Shared, id string, change func(T) (T, error)) (Receipt, error) {
	for pause := retry.NewPause(maxUpdatePause); ; {
		old, err := k.Get(state.View(), id)
		if err != nil {
			return Receipt{}, err
		}
		value, err := change(old.Value)
		if err != nil {
			return Receipt{}, err
		}
		op, err := k.Op(id, value, ExpectRevision(old.Modified))
		if err != nil {
			return Receipt{}, err
		}
		op.Put.Parent = old.Parent
		receipt, err := state.Commit(ctx, Delta{Ops: []Op{op}})
		if !errors.Is(err, ErrConflict) {
			return receipt, err
		}
		if stop := retry.Wait(ctx, pause.Next()); stop != nil {
			return Receipt{}, fmt.Errorf("update %s: %w; last: %w", op.Name, stop, err)
		}
	}
}

// maxUpdatePause bounds the pause before an update is tried again.
const maxUpdatePause = 250 * time.Millisecond

// decoded is what a kind has made of a payload. A memento keeps that of the kind which
// read it last, for as long as it lives itself: there is one a revision.
type decoded struct {
	kind  any // the *Kind[T]
	value any // a *T
	err   error
}

// entry reads a memento of the kind.
func (k *Kind[T]) entry(m *Memento) (Entry[T], error) {
	e := Entry[T]{ID: m.Name.ID(), Modified: m.Modified, Parent: m.Parent}
	d := m.decoded.Load()
	if d == nil || d.kind != any(k) {
		d = k.decode(m)
		m.decoded.Store(d)
	}
	if d.err != nil {
		return e, d.err
	}
	e.Value = *d.value.(*T)
	return e, nil
}

func (k *Kind[T]) decode(m *Memento) *decoded {
	value, err := k.value(m)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrQuarantined, m.Name, err)
	}
	return &decoded{kind: k, value: &value, err: err}
}

// value decodes a payload, upgraded to the present schema first.
func (k *Kind[T]) value(m *Memento) (value T, err error) {
	if present := int64(len(k.upgrades)); m.Schema > present {
		return value, fmt.Errorf("its schema version %d is newer than %d, the newest that this program knows", m.Schema, present)
	}
	payload := m.Payload
	for i, upgrade := range k.upgrades[m.Schema:] {
		if payload, err = upgrade(payload); err != nil {
			return value, fmt.Errorf("upgrade from schema version %d: %w", int(m.Schema)+i, err)
		}
	}
	return k.codec.Decode(payload)
}
