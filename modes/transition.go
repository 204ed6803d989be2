package modes

import "fmt"

// Event is what happens to a node and may change its state.
type Event uint8

// The events that move a node from state to state.
const (
	_ Event = iota
	// EventPrepare begins a change that takes time: a first load, a fresh start
	// in another mode, the promotion of a node that holds nothing yet.
	EventPrepare
	// EventStandBy settles the node as a candidate that holds no state.
	EventStandBy
	// EventStandByHot settles the node as a candidate whose mirror is complete.
	EventStandByHot
	// EventBackUp settles the node as a backup whose mirror is complete.
	EventBackUp
	// EventLead is the commit that announces the node as master.
	EventLead
	// EventFail is a fault that only an operator can clear.
	EventFail
	// EventStop is the end of the node.
	EventStop
)

var eventNames = [...]string{
	EventPrepare:    "prepare",
	EventStandBy:    "stand by",
	EventStandByHot: "stand by hot",
	EventBackUp:     "back up",
	EventLead:       "lead",
	EventFail:       "fail",
	EventStop:       "stop",
}

// Events lists the valid events.
func Events() []Event {
	return []Event{
		EventPrepare, EventStandBy, EventStandByHot, EventBackUp,
		EventLead, EventFail, EventStop,
	}
}

// String returns the event as words.
func (e Event) String() string {
	if e < EventPrepare || e > EventStop {
		return fmt.Sprintf("event(%d)", uint8(e))
	}
	return eventNames[e]
}

// TransitionError is returned by [Next] for a change of state that the rules do
// not allow. It means a defect in the caller, never bad luck.
type TransitionError struct {
	From  State
	Event Event
}

// Error implements error.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("no transition from %s on %q", e.From, e.Event)
}

// transitions is the whole rule book: what is absent is forbidden.
var transitions = map[State]map[Event]State{
	StateInitializing: {
		EventPrepare:    StateInitializing,
		EventStandBy:    StateStandby,
		EventStandByHot: StateHotStandby,
		EventBackUp:     StateHotBackup,
		EventLead:       StateMaster,
		EventFail:       StateFailed,
		EventStop:       StateTerminated,
	},
	// A cold node loads before it becomes hot or leads, so it passes through
	// INITIALIZING.
	StateStandby: {
		EventPrepare: StateInitializing,
		EventStandBy: StateStandby,
		EventFail:    StateFailed,
		EventStop:    StateTerminated,
	},
	// A hot standby keeps its mirror and leads from it, reads never pausing.
	StateHotStandby: {
		EventPrepare:    StateInitializing,
		EventStandBy:    StateStandby,
		EventStandByHot: StateHotStandby,
		EventBackUp:     StateHotBackup,
		EventLead:       StateMaster,
		EventFail:       StateFailed,
		EventStop:       StateTerminated,
	},
	// A hot backup is never promoted: no EventLead here, ever.
	StateHotBackup: {
		EventPrepare:    StateInitializing,
		EventStandBy:    StateStandby,
		EventStandByHot: StateHotStandby,
		EventBackUp:     StateHotBackup,
		EventFail:       StateFailed,
		EventStop:       StateTerminated,
	},
	// A master whose term ends keeps its state as a mirror or drops it.
	StateMaster: {
		EventPrepare:    StateInitializing,
		EventStandBy:    StateStandby,
		EventStandByHot: StateHotStandby,
		EventBackUp:     StateHotBackup,
		EventFail:       StateFailed,
		EventStop:       StateTerminated,
	},
	StateFailed: {
		EventPrepare: StateInitializing,
		EventFail:    StateFailed,
		EventStop:    StateTerminated,
	},
	StateTerminated: {},
}

// Next returns the state that follows from on event, or a [*TransitionError]
// where the rules allow none.
func Next(from State, event Event) (State, error) {
	if to, ok := transitions[from][event]; ok {
		return to, nil
	}
	return 0, &TransitionError{From: from, Event: event}
}

// EventFor returns the event that settles a node in the given resting state; it
// panics for a state in which no node rests.
func EventFor(rest State) Event {
	switch rest {
	case StateStandby:
		return EventStandBy
	case StateHotStandby:
		return EventStandByHot
	case StateHotBackup:
		return EventBackUp
	case StateFailed:
		return EventFail
	default:
		panic("modes: no node rests in " + rest.String())
	}
}
