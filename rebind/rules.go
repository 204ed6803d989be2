// This file holds what a program requires of the mementos that it loads.

package rebind

import (
	"fmt"
	"slices"
)

// Rules say which mementos a program can use, and when a node that cannot use some of them
// must not run at all. The zero value accepts all that can be read, and quarantines the
// others.
//
// The lists name types. They count for the first load of a node; a memento that becomes
// unusable later is quarantined, whatever its type. "*" stands for all types that are in
// none of the lists. A type that is not covered at all is treated as one in Continue.
type Rules struct {
	// Check is asked about each memento before it is shown. If it returns an error or
	// panics, the memento is quarantined, as one that cannot be read is. It must not keep
	// or change the payload. It runs on the goroutine that follows the store: a slow Check
	// delays all readers. nil accepts all.
	Check func(*Memento) error
	// Continue lists the types whose unusable mementos are quarantined.
	Continue []string
	// FailAtEnd lists the types whose unusable mementos make the load fail, after all
	// mementos have been looked at, so that the error counts them.
	FailAtEnd []string
	// FailFast lists the types of which the first unusable memento ends the load.
	FailFast []string
}

// Requires reports whether a load fails that finds an unusable memento of a type, and
// whether it does so at once.
func (r *Rules) Requires(typ string) (required, atOnce bool) {
	for _, t := range []string{typ, "*"} {
		switch {
		case slices.Contains(r.FailFast, t):
			return true, true
		case slices.Contains(r.FailAtEnd, t):
			return true, false
		case slices.Contains(r.Continue, t):
			return false, false
		}
	}
	return false, false
}

// Judge returns a change as a node shows it: with a Fault and no memento if the program
// cannot use the memento.
func (r *Rules) Judge(c Change) Change {
	if r.Check == nil || c.Memento == nil {
		return c
	}
	if err := r.ask(c.Memento); err != nil {
		c.Memento, c.Fault = nil, err.Error()
	}
	return c
}

func (r *Rules) ask(m *Memento) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("check panicked: %v", p)
		}
	}()
	return r.Check(m)
}
