package modes_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/modes"
)

// allEvents has to be extended with every new event, as has the table below.
func allEvents() []modes.Event {
	return []modes.Event{
		modes.EventPrepare, modes.EventStandBy, modes.EventStandByHot, modes.EventBackUp,
		modes.EventLead, modes.EventFail, modes.EventStop,
	}
}

func TestEvents_ListsAllThatHaveWords(t *testing.T) {
	if got := modes.Events(); !slices.Equal(got, allEvents()) {
		t.Fatalf("events = %v, want %v: decide the table of transitions for a new event", got, allEvents())
	}
	words := make(map[string]modes.Event)
	for i := range 256 {
		e := modes.Event(i)
		text := e.String()
		if named := !strings.HasPrefix(text, "event("); named != slices.Contains(allEvents(), e) {
			t.Errorf("event %d prints as %q", i, text)
		}
		if other, ok := words[text]; ok || text == "" {
			t.Errorf("events %d and %d both print as %q", i, other, text)
		}
		words[text] = e
	}
}

// short names, so that the table below can be read as one.
const (
	refused      modes.State = 0
	initializing             = modes.StateInitializing
	standby                  = modes.StateStandby
	hotStandby               = modes.StateHotStandby
	hotBackup                = modes.StateHotBackup
	master                   = modes.StateMaster
	failed                   = modes.StateFailed
	terminated               = modes.StateTerminated
)

// decisions says what becomes of every state on every event, in the order of
// allEvents.
func decisions() map[modes.State][]modes.State {
	return map[modes.State][]modes.State{
		//             prepare       stand by  by hot      back up    lead     fail    stop
		initializing: {initializing, standby, hotStandby, hotBackup, master, failed, terminated},
		standby:      {initializing, standby, refused, refused, refused, failed, terminated},
		hotStandby:   {initializing, standby, hotStandby, hotBackup, master, failed, terminated},
		hotBackup:    {initializing, standby, hotStandby, hotBackup, refused, failed, terminated},
		master:       {initializing, standby, hotStandby, hotBackup, refused, failed, terminated},
		failed:       {initializing, refused, refused, refused, refused, failed, terminated},
		terminated:   {refused, refused, refused, refused, refused, refused, refused},
	}
}

func TestNext_EveryStateOnEveryEvent(t *testing.T) {
	table := decisions()
	for _, from := range modes.States() {
		row := table[from]
		if len(row) != len(modes.Events()) {
			t.Errorf("%s: %d of %d events are decided", from, len(row), len(modes.Events()))
			continue
		}
		for i, event := range modes.Events() {
			got, err := modes.Next(from, event)
			if want := row[i]; got != want {
				t.Errorf("%s on %q = %s, want %s", from, event, got, want)
			}
			var bad *modes.TransitionError
			switch {
			case row[i] != refused && err != nil:
				t.Errorf("%s on %q: %v", from, event, err)
			case row[i] == refused && (!errors.As(err, &bad) || bad.From != from || bad.Event != event):
				t.Errorf("%s on %q: error %v, want a TransitionError that says so", from, event, err)
			}
		}
	}
	if len(table) != len(modes.States()) {
		t.Errorf("%d states are decided, there are %d", len(table), len(modes.States()))
	}
}

func TestNext_RefusesWhatIsNotValid(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  modes.State
		event modes.Event
	}{
		{"no state", 0, modes.EventPrepare},
		{"no event", initializing, 0},
		{"a state beyond the last", terminated + 1, modes.EventStop},
		{"an event beyond the last", initializing, modes.EventStop + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			to, err := modes.Next(c.from, c.event)
			var bad *modes.TransitionError
			if to != 0 || !errors.As(err, &bad) {
				t.Errorf("next = %v, %v, want a TransitionError", to, err)
			}
		})
	}
}

func TestTransitionError_SaysWhatWasTried(t *testing.T) {
	_, err := modes.Next(hotBackup, modes.EventLead)
	if err == nil || !strings.Contains(err.Error(), "HOT_BACKUP") || !strings.Contains(err.Error(), "lead") {
		t.Errorf("error = %v, want it to name HOT_BACKUP and lead", err)
	}
}

func TestEventFor(t *testing.T) {
	for _, m := range modes.Modes() {
		for _, hot := range []bool{true, false} {
			rest := m.Rest(hot)
			if to, err := modes.Next(initializing, modes.EventFor(rest)); err != nil || to != rest {
				t.Errorf("the event for %s leads to %s, %v", rest, to, err)
			}
		}
	}
	for _, s := range []modes.State{0, initializing, master, terminated} {
		if !panics(func() { modes.EventFor(s) }) {
			t.Errorf("there is an event for resting in %s", s)
		}
	}
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// Promise: a hot backup is never promoted. Whatever happens to it, it passes
// through a state in which its mode was changed before it can lead.
func TestNext_NoWayFromHotBackupToMaster(t *testing.T) {
	for _, event := range modes.Events() {
		if to, err := modes.Next(hotBackup, event); err == nil && to == master {
			t.Errorf("%q makes a hot backup master", event)
		}
	}
}

func TestNext_AnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := initializing
		events := rapid.SliceOfN(rapid.SampledFrom(modes.Events()), 1, 60).Draw(t, "events")
		for _, event := range events {
			to, err := modes.Next(state, event)
			if err != nil {
				if to != 0 {
					t.Fatalf("%s on %q is refused and leads to %s", state, event, to)
				}
				continue // a refused event changes nothing
			}
			if !to.Valid() {
				t.Fatalf("%s on %q leads to %s", state, event, to)
			}
			if state == terminated {
				t.Fatalf("%q wakes a node that is TERMINATED", event)
			}
			if to == master && state != initializing && state != hotStandby {
				t.Fatalf("%s becomes MASTER on %q", state, event)
			}
			if state == failed && to != failed && to != terminated && to != initializing {
				t.Fatalf("FAILED becomes %s without a fresh start", to)
			}
			state = to
		}
	})
}
