package rebind

import "hash/maphash"

// This file holds the index of a view by name. It belongs to the draft that changes it; the views
// that share it only read it.

// index finds mementos by their names. The tree keeps them in order, but a search in it
// compares about twenty names that lie far apart in memory. The index is a trie over the
// bits of a hash: among a million mementos, each is five small branches away. Views share
// the branches that did not change between them, as they do with the tree. Branches that
// deletions have emptied stay until the next load.
type index struct {
	seed  maphash.Seed
	root  *branch
	owner *owner
	added int // by add
	depth int // of the slots that add fills
}

// owner marks the branches that no view shares and that can be changed in place.
type owner struct{ _ byte }

const (
	// branchBits keeps branches small: an update copies each branch on the path to the
	// slot that it changes.
	branchBits = 4
	branchFan  = 1 << branchBits
	// maxChain is how many mementos share a slot before it becomes a branch. A smaller
	// limit would make branches for few mementos, a larger one long searches in a slot.
	maxChain = 12
	// meanChain is how many mementos a slot may have on average while many are added.
	meanChain = 8
)

// branch is an inner node.
type branch struct {
	owner *owner
	slots [branchFan]slot
}

// slot holds a branch or some mementos, or nothing.
type slot struct {
	down  *branch
	chain *link
}

// link is one of the mementos in a slot. It never changes.
type link struct {
	hash    uint64
	memento *Memento
	next    *link
}

func newIndex() index {
	return index{seed: maphash.MakeSeed(), root: new(branch), owner: new(owner), depth: 1}
}

func (x *index) hash(name Name) uint64 { return maphash.String(x.seed, string(name)) }

// freeze returns the index as it is now; later changes copy what they touch.
func (x *index) freeze() index {
	x.owner = new(owner)
	return *x
}

// get returns the memento of that name, or nil.
func (x *index) get(name Name) *Memento {
	hash := x.hash(name)
	b := x.root
	for rest := hash; ; rest >>= branchBits {
		s := &b.slots[rest%branchFan]
		if s.down == nil {
			return s.chain.find(hash, name)
		}
		b = s.down
	}
}

// put adds a memento. It replaces one of the same name.
func (x *index) put(m *Memento) {
	hash := x.hash(m.Name)
	s, depth := x.slot(hash)
	s.chain = &link{hash, m, s.chain.without(hash, m.Name)}
	if s.chain.length() > maxChain && depth*branchBits < 64 {
		s.split(x.owner, depth)
	}
}

// add is put for a new index to which many mementos are added, each of a different name.
// It does not read the mementos of the slot, which lie far apart in memory, but estimates
// their number from the number of all.
func (x *index) add(m *Memento) {
	if x.added++; x.added > meanChain<<(x.depth*branchBits) {
		x.depth++
	}
	hash := x.hash(m.Name)
	s, depth := x.slot(hash)
	s.chain = &link{hash, m, s.chain}
	if depth < x.depth {
		s.split(x.owner, depth)
	}
}

// remove removes the memento of that name.
func (x *index) remove(name Name) {
	hash := x.hash(name)
	s, _ := x.slot(hash)
	s.chain = s.chain.without(hash, name)
}

// slot returns the slot of a hash, for a change, and how many branches lead to it.
func (x *index) slot(hash uint64) (s *slot, depth int) {
	at := &x.root
	for {
		if (*at).owner != x.owner {
			own := **at
			own.owner = x.owner
			*at = &own
		}
		s = &(*at).slots[hash>>(depth*branchBits)%branchFan]
		depth++
		if s.down == nil {
			return s, depth
		}
		at = &s.down
	}
}

// split makes a branch of the mementos of a slot to which depth branches lead.
func (s *slot) split(by *owner, depth int) {
	down := &branch{owner: by}
	for l := s.chain; l != nil; l = l.next {
		to := &down.slots[l.hash>>(depth*branchBits)%branchFan]
		to.chain = &link{l.hash, l.memento, to.chain}
	}
	s.down, s.chain = down, nil
}

func (l *link) find(hash uint64, name Name) *Memento {
	for ; l != nil; l = l.next {
		if l.hash == hash && l.memento.Name == name {
			return l.memento
		}
	}
	return nil
}

// without returns the chain without the memento of that name.
func (l *link) without(hash uint64, name Name) *link {
	switch {
	case l == nil:
		return nil
	case l.hash == hash && l.memento.Name == name:
		return l.next
	}
	rest := l.next.without(hash, name)
	if rest == l.next {
		return l // there is none
	}
	return &link{l.hash, l.memento, rest}
}

func (l *link) length() int {
	n := 0
	for ; l != nil; l = l.next {
		n++
	}
	return n
}
