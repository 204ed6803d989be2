// This file reads and writes the mementos of one type as values of a Go type.

package rebind

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coordinator-ha/coordinator/internal/retry"
)

// Kind reads and writes the mementos of one type as values of T. It keeps no state of the
// plane: it reads from a [View] and writes to a [Shared]. Make one for each type, once; its
// methods may be called from any goroutine.
//
// A value is decoded when it is first read, once for each revision of its memento. All who
// read that revision share it: do not change what a T points to.
type Kind[T any] struct {
	typ      string
	codec    Codec[T]
	upgrades []func(payload []byte) ([]byte, error)
}

// JSON returns the kind of the mementos of type typ, each of which holds a T as
// encoding/json writes it. For upgrades see [NewKind].
func JSON[T any](typ string, upgrades ...func(payload []byte) ([]byte, error)) *Kind[T] {
	return NewKind[T](typ, jsonCodec[T]{}, upgrades...)
}

// NewKind returns the kind of the mementos of type typ, in a format of your own. If typ is
// not valid the first write returns an [ErrInvalid].
//
// Values are written with the schema version len(upgrades). A value that was stored with an
// older version n is read through upgrades[n], upgrades[n+1] and so on, each of which turns
// a payload of one version into one of the next. What is stored does not change until it is
// put again. An upgrade must not change the payload that it is given, and may be called from
// any goroutine.
func NewKind[T any](typ string, codec Codec[T], upgrades ...func(payload []byte) ([]byte, error)) *Kind[T] {
	return &Kind[T]{typ: typ, codec: codec, upgrades: upgrades}
}

// Shared is the state of a plane as a program reads and writes it. A Leader and a Node of
// package coordinator are both Shared; on a node that is not the master, Commit fails with
// an error that names the master.
type Shared interface {
	// View returns the newest view, or nil while this node has no copy of the state.
	View() *View
	// Commit stores d, all of it or nothing, and returns when the store has it.
	Commit(ctx context.Context, d Delta) (Receipt, error)
}

// Entry is one value with its place in the store.
type Entry[T any] struct {
	ID    string
	Value T
	// Modified is the revision that last put it. A Put or Delete that expects it fails if
	// the value has changed since.
	Modified Revision
	// Parent is the memento that it belongs to, or empty.
	Parent Name
}

// Get returns the value with an id. The error is [ErrNotFound], or wraps [ErrQuarantined]
// if the stored value cannot be read or decoded, or [ErrUnavailable] if v is nil.
func (k *Kind[T]) Get(v *View, id string) (Entry[T], error) {
	if v == nil {
		return Entry[T]{ID: id}, errNoView
	}
	m, err := v.Get(Name(k.typ + "/" + id))
	if err != nil {
		return Entry[T]{ID: id}, err
	}
	return k.entry(m)
}

// errNoView is the answer where a node has no copy of the state.
var errNoView = fmt.Errorf("%w: this node has no copy of the state", ErrUnavailable)

// List yields the values whose ids begin with prefix, in the order of the ids. A value that
// cannot be decoded comes with its ID and an error that wraps [ErrQuarantined]. If v is nil
// there is one error, as of Get.
func (k *Kind[T]) List(v *View, prefix string) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		if v == nil {
			yield(Entry[T]{}, errNoView)
			return
		}
		for m := range v.OfType(k.typ, prefix) {
			if !yield(k.entry(m)) {
				return
			}
		}
	}
}

// All yields all values, as List does.
func (k *Kind[T]) All(v *View) iter.Seq2[Entry[T], error] { return k.List(v, "") }

// Op returns the operation that puts a value, for a [Delta] of several. It requires nothing
// of what is stored, unless expect is given: [Absent] creates a value, and the
// [Entry.Modified] of a value that was read replaces that one. The error is the codec's.
func (k *Kind[T]) Op(id string, value T, expect ...Revision) (Op, error) {
	payload, err := k.codec.Encode(value)
	if err != nil {
		return Op{}, fmt.Errorf("encode %s/%s: %w", k.typ, id, err)
	}
	op := k.deletion(id, expect)
	op.Put = &Content{ContentType: k.codec.ContentType(), Schema: int64(len(k.upgrades)), Payload: payload}
	return op, nil
}

// deletion is the operation that deletes a value. Of several expectations the last counts.
func (k *Kind[T]) deletion(id string, expect []Revision) Op {
	op := Op{Name: Name(k.typ + "/" + id)}
	for _, e := range expect {
		op.Expect = e
	}
	return op
}

// Put stores a value in a delta of its own, and returns when it is durable. For expect see
// Op. If it is not met the error is an [ErrConflict]; other errors are those of the Commit.
func (k *Kind[T]) Put(ctx context.Context, to Shared, id string, value T, expect ...Revision) (Receipt, error) {
	op, err := k.Op(id, value, expect...)
	if err != nil {
		return Receipt{}, err
	}
	return to.Commit(ctx, Delta{Ops: []Op{op}})
}

// Delete deletes the value with an id, as Put puts one. It is no error if there is none,
// unless expect says otherwise.
func (k *Kind[T]) Delete(ctx context.Context, to Shared, id string, expect ...Revision) (Receipt, error) {
	return to.Commit(ctx, Delta{Ops: []Op{k.deletion(id, expect)}})
}

// Update replaces the value with an id by what change returns for it. If the value is
// changed elsewhere meanwhile, Update begins again with the new one, until ctx ends. So
// change may be called more than once; it must not change what its argument points to. An
// error of change ends the update: it is returned as it is, and nothing was written. The
// parent is kept.
//
// If there is no value the error is an [ErrNotFound]. An [ErrUnknown] is returned and not
// tried again, since the change may have been made.
func (k *Kind[T]) Update(ctx context.Context, state Shared, id string, change func(T) (T, error)) (Receipt, error) {
	for pause := retry.NewBackoff(maxUpdatePause); ; {
		old, err := k.Get(state.View(), id)
		if err != nil {
			return Receipt{}, err
		}
		value, err := change(old.Value)
		if err != nil {
			return Receipt{}, err
		}
		op, err := k.Op(id, value, old.Modified)
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

// decoded is a payload as a kind has decoded it. A memento keeps the one of the kind that
// read it last, so there is one for each revision.
type decoded struct {
	kind  any // the *Kind[T]
	value any // a *T
	err   error
}

// entry returns the value of a memento of the kind, decoded at most once.
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

// value upgrades a payload to the present schema version and decodes it.
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
