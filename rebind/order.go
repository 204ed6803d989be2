// This file puts the mementos of a view in the order in which a program can load them.

package rebind

import "slices"

// Ordered lists the mementos of the view in an order in which a program can make live
// objects of them: parents before their children, then the types in the order given, then
// by name. Types that are not given follow those that are, by name. A parent of a later
// type is brought forward.
//
// The last strays of the list are mementos whose line of parents leads to one that does not
// exist, or runs in a circle. Among them, too, parents come first where that is possible.
func (v *View) Ordered(types ...string) (mementos []*Memento, strays int) {
	s := sorter{view: v, placed: make(map[Name]fate, v.Len())}
	for _, typ := range types {
		for m := range v.OfType(typ, "") {
			s.place(m)
		}
	}
	for m := range v.From("") {
		s.place(m)
	}
	return slices.Concat(s.sound, s.stray), len(s.stray)
}

// fate says where in the order a memento was placed.
type fate uint8

const (
	sound fate = iota + 1
	stray
	pending // on the line of parents that is being walked
)

type sorter struct {
	view         *View
	placed       map[Name]fate
	sound, stray []*Memento
	line         []*Memento // reused by place
}

// place puts m behind its parents. It walks up the line of parents to one that has been
// placed, then gives the whole line the fate of that one, the topmost parent first. It
// does not recurse, so a long line needs no deep stack.
func (s *sorter) place(m *Memento) {
	s.line = s.line[:0]
	outcome := sound
	for at := m; ; {
		if known, ok := s.placed[at.Name]; ok {
			if known != sound { // a stray, or this very line: a circle
				outcome = stray
			}
			break
		}
		s.placed[at.Name] = pending
		s.line = append(s.line, at)
		if at.Parent == "" {
			break
		}
		parent, err := s.view.Get(at.Parent)
		if err != nil {
			outcome = stray
			break
		}
		at = parent
	}
	for _, at := range slices.Backward(s.line) {
		s.placed[at.Name] = outcome
		if outcome == sound {
			s.sound = append(s.sound, at)
		} else {
			s.stray = append(s.stray, at)
		}
	}
}
