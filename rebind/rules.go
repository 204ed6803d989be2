package rebind

import "fmt"

// Policy says what a load does about mementos that cannot be used. It counts for
// the first load of a [replica.Mirror]; what appears later is quarantined whatever the
// policy.
type Policy uint8

// The policies.
const (
	// Continue quarantines the memento and goes on.
	Continue Policy = iota
	// FailAtEnd looks at all the others too and then refuses the load.
	FailAtEnd
	// FailFast refuses the load at once.
	FailFast
)

var policyNames = [...]string{Continue: "continue", FailAtEnd: "fail_at_end", FailFast: "fail_fast"}

// ParsePolicy reads a policy by its name.
func ParsePolicy(s string) (Policy, error) {
	for p, name := range policyNames {
		if s == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("unknown policy %q: use continue, fail_at_end or fail_fast", s)
}

// String returns the name.
func (p Policy) String() string {
	if int(p) >= len(policyNames) {
		return fmt.Sprintf("policy(%d)", uint8(p))
	}
	return policyNames[p]
}

// Rules say which mementos a program can use and what to do about the others. The
// zero value takes all whose stored form can be read and continues without those
// whose cannot.
type Rules struct {
	// Check is asked about each memento before it is shown. One for which it
	// returns an error, or panics, is quarantined like one whose stored form
	// cannot be read. It must not keep or change the payload, and is called by
	// the mirror's goroutine: a slow one delays all readers. nil accepts all.
	Check func(*Memento) error
	// Policy is for all types but those in ByType.
	Policy Policy
	ByType map[string]Policy
}

// PolicyFor returns the policy for a type.
func (r *Rules) PolicyFor(typ string) Policy {
	if p, ok := r.ByType[typ]; ok {
		return p
	}
	return r.Policy
}

// Judge puts a change in quarantine whose memento the program cannot use.
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
