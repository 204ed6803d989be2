package rebind

import "slices"

// Ordered is a [View] in the order in which a program can turn it into live
// objects.
type Ordered struct {
	// Mementos holds each memento once: parents before their children, then the
	// types as asked for, then by name.
	Mementos []*Memento
	// Stray counts the mementos whose line of parents leads to one that is not
	// there, or runs in a circle. They come last, parents first where there are.
	Stray int
}

// Order puts the mementos of v in order. Types not listed follow those that are,
// by name. A parent that belongs to a later type is brought forward.
func Order(v *View, types ...string) Ordered {
	s := sorter{view: v, placed: make(map[Name]fate, v.Len())}
	for _, typ := range types {
		for m := range v.OfType(typ, "") {
			s.place(m)
		}
	}
	for m := range v.From("") {
		s.place(m)
	}
	return Ordered{Mementos: slices.Concat(s.sound, s.stray), Stray: len(s.stray)}
}

// fate is what became of a memento on its way into the order.
type fate uint8

const (
	sound fate = iota + 1
	stray
	pending // on the line of parents now being walked
)

type sorter struct {
	view         *View
	placed       map[Name]fate
	sound, stray []*Memento
	line         []*Memento // reused by place
}

// place puts m behind its parents. It walks the line upwards until it meets
// somebody whose fate is known, then gives the whole line that fate, eldest
// first. Walking instead of recursing keeps the stack flat for long lines.
func (s *sorter) place(m *Memento) {
	s.line = s.line[:0]
	verdict := sound
	for at := m; ; {
		if known, ok := s.placed[at.Name]; ok {
			if known != sound { // a stray, or this very line: a circle
				verdict = stray
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
			verdict = stray
			break
		}
		at = parent
	}
	for _, at := range slices.Backward(s.line) {
		s.placed[at.Name] = verdict
		if verdict == sound {
			s.sound = append(s.sound, at)
		} else {
			s.stray = append(s.stray, at)
		}
	}
}
