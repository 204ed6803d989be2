package rebind

import (
	"slices"
	"sync"
)

// Index finds values of a [Kind] by what they say. It follows the views that it is
// asked about: from one to a newer one of the same mirror it looks at nothing but what
// has changed between them. Its methods may be called from any goroutine.
type Index[T any] struct {
	kind *Kind[T]
	keys func(id string, value T) []string

	mu  sync.Mutex // guards the fields below
	at  place      // which view it is of
	ids map[string]map[Name]struct{}
	of  map[Name][]string // the keys of each memento, as ids has them
}

// NewIndex returns an index of the values of kind under the keys that keys tells of
// each, which may be none or many. keys is called with a lock held and must return
// the same for the same value. A value that cannot be decoded has no keys.
func NewIndex[T any](kind *Kind[T], keys func(id string, value T) []string) *Index[T] {
	return &Index[T]{kind: kind, keys: keys}
}

// Get returns the values that have the key in a view, in the order of their ids. Where
// the index has seen a newer view, or its last is too long ago for the mirror to tell
// what has changed since, it is made anew from all values of v.
func (x *Index[T]) Get(v *View, key string) []Entry[T] {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moveTo(v)
	names := make([]Name, 0, len(x.ids[key]))
	for name := range x.ids[key] {
		names = append(names, name)
	}
	slices.Sort(names)
	found := make([]Entry[T], 0, len(names))
	for _, name := range names {
		if m := v.index.get(name); m != nil {
			if e, err := x.kind.entry(m); err == nil {
				found = append(found, e)
			}
		}
	}
	return found
}

// moveTo makes the index one of v.
func (x *Index[T]) moveTo(v *View) {
	if x.at == v.place() {
		return
	}
	names, ok := v.changedSince(x.at)
	if !ok {
		x.ids, x.of = make(map[string]map[Name]struct{}), make(map[Name][]string)
		for m := range v.OfType(x.kind.typ, "") {
			x.set(m.Name, m)
		}
	}
	for _, name := range names {
		if name.Type() == x.kind.typ {
			x.set(name, v.index.get(name))
		}
	}
	x.at = v.place()
}

// set brings the keys of one memento up to date; m is nil where there is none.
func (x *Index[T]) set(name Name, m *Memento) {
	for _, key := range x.of[name] {
		delete(x.ids[key], name)
		if len(x.ids[key]) == 0 {
			delete(x.ids, key)
		}
	}
	delete(x.of, name)
	if m == nil {
		return
	}
	e, err := x.kind.entry(m)
	if err != nil {
		return
	}
	keys := slices.Clone(x.keys(e.ID, e.Value))
	for _, key := range keys {
		if x.ids[key] == nil {
			x.ids[key] = make(map[Name]struct{})
		}
		x.ids[key][name] = struct{}{}
	}
	if len(keys) > 0 {
		x.of[name] = keys
	}
}
