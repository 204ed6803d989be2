package modes

import "fmt"

// This file holds what a node is.

// State is what a node is, as opposed to [Mode], what it was asked to be. A node
// has exactly one State and publishes it; there is no second, "internal" one.
// The text forms are stored in etcd: add values, never rename or reuse them. The
// zero State is not valid.
type State uint8

// The states a node can be in.
const (
	_ State = iota
	// StateInitializing is a node on its way to another state. It is not chosen
	// as master and serves no reads.
	StateInitializing
	// StateStandby may be promoted and holds no state.
	StateStandby
	// StateHotStandby may be promoted and holds a read-only mirror.
	StateHotStandby
	// StateHotBackup holds a read-only mirror and is never promoted.
	StateHotBackup
	// StateMaster has loaded all state and accepts writes.
	StateMaster
	// StateFailed stays up to say why it can do nothing else.
	StateFailed
	// StateTerminated has stopped.
	StateTerminated
)

var stateNames = [...]string{
	StateInitializing: "INITIALIZING",
	StateStandby:      "STANDBY",
	StateHotStandby:   "HOT_STANDBY",
	StateHotBackup:    "HOT_BACKUP",
	StateMaster:       "MASTER",
	StateFailed:       "FAILED",
	StateTerminated:   "TERMINATED",
}

// States lists the valid states.
func States() []State {
	return []State{
		StateInitializing, StateStandby, StateHotStandby, StateHotBackup,
		StateMaster, StateFailed, StateTerminated,
	}
}

// String returns the upper-case text form.
func (s State) String() string {
	if !s.Valid() {
		return fmt.Sprintf("STATE(%d)", uint8(s))
	}
	return stateNames[s]
}

// Valid reports whether s is one of the named states.
func (s State) Valid() bool { return s >= StateInitializing && s <= StateTerminated }

// Hot reports whether a node in this state holds a read-only mirror.
func (s State) Hot() bool { return s == StateHotStandby || s == StateHotBackup }

// Readable reports whether a node in this state answers reads of mementos.
func (s State) Readable() bool { return s == StateMaster || s.Hot() }

// Electable reports whether a node in this state may take part in the election.
func (s State) Electable() bool { return s == StateStandby || s == StateHotStandby }

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) {
	if !s.Valid() {
		return nil, fmt.Errorf("%s has no text form", s)
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It takes the exact text
// form only: states are written by nodes, not typed by people.
func (s *State) UnmarshalText(text []byte) error {
	for _, state := range States() {
		if stateNames[state] == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", text)
}
