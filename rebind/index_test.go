package rebind

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// Promise: the index is a map, and what was frozen of it never changes.
func TestIndex_IsAMapWhoseFrozenCopiesStay(t *testing.T) {
	const names, rounds, changes = 20_000, 8, 15_000
	x, want := newIndex(), make(map[Name]*Memento)
	name := func() Name { return Name(fmt.Sprintf("entity/%d", rand.IntN(names))) }
	type copied struct {
		index index
		want  map[Name]*Memento
	}
	var kept []copied
	for id := range names / 2 { // as a load does
		m := &Memento{Name: Name(fmt.Sprintf("entity/%d", id))}
		x.add(m)
		want[m.Name] = m
	}
	for range rounds {
		for range changes {
			n := name()
			if rand.IntN(3) == 0 {
				x.remove(n)
				delete(want, n)
				continue
			}
			m := &Memento{Name: n}
			x.put(m)
			want[n] = m
		}
		kept = append(kept, copied{x.freeze(), maps.Clone(want)})
	}
	for i, c := range kept {
		for id := range names {
			n := Name(fmt.Sprintf("entity/%d", id))
			if got := c.index.get(n); got != c.want[n] {
				t.Fatalf("copy %d: %s is %p, want %p", i, n, got, c.want[n])
			}
		}
	}
}

// Promise: names whose hashes are the same are kept apart by themselves.
func TestIndex_KeepsNamesOfOneHashApart(t *testing.T) {
	var chain *link
	all := []*Memento{{Name: "a/1"}, {Name: "a/2"}, {Name: "a/3"}}
	for _, m := range all {
		chain = &link{7, m, chain}
	}
	less := chain.without(7, "a/2")
	for _, m := range all {
		if got := chain.find(7, m.Name); got != m {
			t.Errorf("%s is %v in the chain", m.Name, got)
		}
		want := m
		if m.Name == "a/2" {
			want = nil
		}
		if got := less.find(7, m.Name); got != want {
			t.Errorf("%s is %v in the chain without a/2", m.Name, got)
		}
	}
	if chain.find(8, "a/1") != nil || chain.length() != 3 || less.length() != 2 {
		t.Errorf("chains of %d and %d", chain.length(), less.length())
	}
}
