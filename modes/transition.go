package modes

import "slices"

// This file holds which state may follow which.

// The states that may follow each state. What is not listed is forbidden.
var followers = map[State][]State{
	StateInitializing: {
		StateInitializing, StateStandby, StateHotStandby, StateHotBackup,
		StateMaster, StateFailed, StateTerminated,
	},
	// A cold node loads before it becomes hot or leads, so it passes through
	// INITIALIZING.
	StateStandby: {StateInitializing, StateStandby, StateFailed, StateTerminated},
	// A hot standby keeps its mirror and leads from it: its reads never pause.
	StateHotStandby: {
		StateInitializing, StateStandby, StateHotStandby, StateHotBackup,
		StateMaster, StateFailed, StateTerminated,
	},
	// A hot backup is never promoted: MASTER must not be here.
	StateHotBackup: {
		StateInitializing, StateStandby, StateHotStandby, StateHotBackup,
		StateFailed, StateTerminated,
	},
	// A master whose term ends keeps its state as a mirror or drops it. MASTER does
	// not follow MASTER: a new term begins in a resting state.
	StateMaster: {
		StateInitializing, StateStandby, StateHotStandby, StateHotBackup,
		StateFailed, StateTerminated,
	},
	StateFailed:     {StateInitializing, StateFailed, StateTerminated},
	StateTerminated: {},
}

// CanBecome reports whether a node in the state from may go to the state to. A state
// may follow itself unless it is MASTER or TERMINATED. Values that are not valid
// states follow nothing and are followed by nothing.
func CanBecome(from, to State) bool { return slices.Contains(followers[from], to) }
