// This file holds Index, which finds the values of a kind by their content.

package rebind

import (
	"slices"
	"sync"
)

// Index finds values of a [Kind] by their content. It follows the views that it is asked
// about: for a newer view of the same node it looks only at what has changed since. Its
// methods may be called from any goroutine.
type Index[T any] struct {
	kind *Kind[T]
	keys func(id string, value T) []string

	mu  sync.Mutex // guards the fields below
	at  place      // the view that it is of
	ids map[string]map[Name]struct{}
	of  map[Name][]string // the keys of each memento, as in ids
}

// Index returns an index of the values of the kind. keys returns the keys of a value, none
// or any number of them; it is called with a lock held, and must return the same for the
// same value. A value that cannot be decoded has no keys.
func (k *Kind[T]) Index(keys func(id string, value T) []string) *Index[T] {
	return &Index[T]{kind: k, keys: keys}
}

// Get returns the values of v that have the key, in the order of their ids, and none if v is
// nil. If the index has already seen a newer view, or one so old that the node does not know
// what has changed since, it is built anew from all values of v.
func (x *Index[T]) Get(v *View, key string) []Entry[T] {
	if v == nil {
		return nil
	}
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

// moveTo makes the index that of v.
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

// set updates the keys of one memento; m is nil if it does not exist.
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
