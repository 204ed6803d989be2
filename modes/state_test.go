package modes_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/modes"
)

// allStates has to be extended with every new state, as have the tables below.
func allStates() []modes.State {
	return []modes.State{
		modes.StateInitializing, modes.StateStandby, modes.StateHotStandby, modes.StateHotBackup,
		modes.StateMaster, modes.StateFailed, modes.StateTerminated,
	}
}

func TestStates_ListsAllThatAreValid(t *testing.T) {
	if got := modes.States(); !slices.Equal(got, allStates()) {
		t.Fatalf("states = %v, want %v: decide every table for a new state", got, allStates())
	}
	for i := range 256 {
		s := modes.State(i)
		if got, want := s.Valid(), slices.Contains(allStates(), s); got != want {
			t.Errorf("state %d: valid = %t, want %t", i, got, want)
		}
	}
}

func TestState_TextRoundTrip(t *testing.T) {
	texts := map[modes.State]string{
		modes.StateInitializing: "INITIALIZING",
		modes.StateStandby:      "STANDBY",
		modes.StateHotStandby:   "HOT_STANDBY",
		modes.StateHotBackup:    "HOT_BACKUP",
		modes.StateMaster:       "MASTER",
		modes.StateFailed:       "FAILED",
		modes.StateTerminated:   "TERMINATED",
	}
	for _, s := range modes.States() {
		if s.String() != texts[s] {
			t.Errorf("state %d prints as %q, want %q", uint8(s), s, texts[s])
		}
		text, err := json.Marshal(s)
		if err != nil || string(text) != `"`+texts[s]+`"` {
			t.Errorf("text = %s, %v, want %q", text, err, texts[s])
		}
		var back modes.State
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%s came back as %v, error %v", s, back, err)
		}
	}
}

func TestState_NoTextForWhatIsNotValid(t *testing.T) {
	for _, s := range []modes.State{0, modes.StateTerminated + 1, 255} {
		if text, err := s.MarshalText(); err == nil {
			t.Errorf("state %d has the text %q", uint8(s), text)
		}
		if got := s.String(); !strings.HasPrefix(got, "STATE(") {
			t.Errorf("state %d prints as %q, which looks like one", uint8(s), got)
		}
	}
	// States are written by nodes: anything but the exact form is somebody's mistake.
	for _, text := range []string{"", "master", "HOT-STANDBY", " MASTER", "LEADER", "STATE(0)"} {
		s := modes.StateFailed
		if err := s.UnmarshalText([]byte(text)); err == nil || s != modes.StateFailed {
			t.Errorf("%q became %v, error %v, want it refused", text, s, err)
		}
	}
}

func TestState_Properties(t *testing.T) {
	type properties struct{ hot, readable, electable bool }
	decided := map[modes.State]properties{
		modes.StateInitializing: {},
		modes.StateStandby:      {electable: true},
		modes.StateHotStandby:   {hot: true, readable: true, electable: true},
		modes.StateHotBackup:    {hot: true, readable: true},
		modes.StateMaster:       {readable: true},
		modes.StateFailed:       {},
		modes.StateTerminated:   {},
	}
	for i := range 256 {
		s := modes.State(i)
		want, ok := decided[s]
		if !ok && s.Valid() {
			t.Errorf("%s is not decided", s)
		}
		if got := (properties{s.Hot(), s.Readable(), s.Electable()}); got != want {
			t.Errorf("%s: %+v, want %+v", s, got, want)
		}
	}
}
