package modes_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/modes"
)

// allModes has to be extended with every new mode, as have the tables below.
func allModes() []modes.Mode {
	return []modes.Mode{modes.Auto, modes.Master, modes.Standby, modes.HotStandby, modes.HotBackup, modes.Disabled}
}

func TestModes_ListsAllThatAreValid(t *testing.T) {
	if got := modes.Modes(); !slices.Equal(got, allModes()) {
		t.Fatalf("modes = %v, want %v: decide every table of this file for a new mode", got, allModes())
	}
	for i := range 256 {
		m := modes.Mode(i)
		if got, want := m.Valid(), slices.Contains(allModes(), m); got != want {
			t.Errorf("mode %d: valid = %t, want %t", i, got, want)
		}
	}
}

func TestMode_UnmarshalText(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       modes.Mode // 0: refused
	}{
		{"auto", "auto", modes.Auto},
		{"master", "master", modes.Master},
		{"standby", "standby", modes.Standby},
		{"hot_standby", "hot_standby", modes.HotStandby},
		{"hot_backup", "hot_backup", modes.HotBackup},
		{"disabled", "disabled", modes.Disabled},
		{"any case", "MaStEr", modes.Master},
		{"upper case", "HOT_STANDBY", modes.HotStandby},
		{"a hyphen for the underscore", "hot-backup", modes.HotBackup},
		{"a hyphen in any case", "Hot-Standby", modes.HotStandby},
		{"nothing", "", 0},
		{"a state that is no mode", "INITIALIZING", 0},
		{"an unknown word", "leader", 0},
		{"the separator left out", "hotstandby", 0},
		{"a space for the separator", "hot standby", 0},
		{"space around", " auto ", 0},
		{"a prefix", "hot_stand", 0},
		{"the text of a value that is not valid", "mode(0)", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got modes.Mode
			err := got.UnmarshalText([]byte(c.text))
			if got != c.want || (err == nil) != (c.want != 0) {
				t.Errorf("%q is read as %v, %v, want %v", c.text, got, err, c.want)
			}
		})
	}
}

func TestMode_UnmarshalTextNamesTheChoices(t *testing.T) {
	err := new(modes.Mode).UnmarshalText([]byte("leader"))
	if err == nil {
		t.Fatal("leader is taken for a mode")
	}
	for _, m := range allModes() {
		if !strings.Contains(err.Error(), m.String()) {
			t.Errorf("error %q does not name %s", err, m)
		}
	}
}

func TestMode_TextRoundTrip(t *testing.T) {
	for _, m := range allModes() {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("marshal %s: %v", m, err)
		}
		if want := `"` + m.String() + `"`; string(text) != want || want != strings.ToLower(want) {
			t.Errorf("text = %s, want %s in lower case", text, want)
		}
		var back modes.Mode
		if err := json.Unmarshal(text, &back); err != nil || back != m {
			t.Errorf("%s came back as %v, error %v", m, back, err)
		}
	}
}

func TestMode_NoTextForWhatIsNotValid(t *testing.T) {
	for _, m := range []modes.Mode{0, modes.Disabled + 1, 255} {
		if text, err := m.MarshalText(); err == nil {
			t.Errorf("mode %d has the text %q", uint8(m), text)
		}
		if got := m.String(); !strings.HasPrefix(got, "mode(") {
			t.Errorf("mode %d prints as %q, which looks like one", uint8(m), got)
		}
	}
	m := modes.Standby
	if err := m.UnmarshalText([]byte("leader")); err == nil || m != modes.Standby {
		t.Errorf("mode = %v, error %v, want standby left alone", m, err)
	}
}

func TestMode_Properties(t *testing.T) {
	type properties struct {
		promotable, needsMaster bool
		restHot, restCold       modes.State // where hot or cold is the default
	}
	decided := map[modes.Mode]properties{
		modes.Auto:       {true, false, modes.StateHotStandby, modes.StateStandby},
		modes.Master:     {true, false, modes.StateHotStandby, modes.StateStandby},
		modes.Standby:    {true, true, modes.StateStandby, modes.StateStandby},
		modes.HotStandby: {true, true, modes.StateHotStandby, modes.StateHotStandby},
		modes.HotBackup:  {false, false, modes.StateHotBackup, modes.StateHotBackup},
		modes.Disabled:   {false, false, modes.StateFailed, modes.StateFailed},
	}
	for _, m := range modes.Modes() {
		want, ok := decided[m]
		if !ok {
			t.Errorf("%s is not decided", m)
		}
		got := properties{m.Promotable(), m.NeedsMaster(), m.Rest(true), m.Rest(false)}
		if got != want {
			t.Errorf("%s: %+v, want %+v", m, got, want)
		}
	}
	for _, m := range []modes.Mode{0, modes.Disabled + 1, 255} {
		if m.Promotable() || m.NeedsMaster() {
			t.Errorf("%s: promotable %t, needs a master %t, want neither", m, m.Promotable(), m.NeedsMaster())
		}
	}
}

// Promise: a node in a mode that is not promotable never rests where an election
// could find it.
func TestMode_RestsElectableOnlyIfPromotable(t *testing.T) {
	for _, m := range modes.Modes() {
		for _, hot := range []bool{true, false} {
			if rest := m.Rest(hot); rest.Electable() != m.Promotable() {
				t.Errorf("%s rests in %s, promotable %t", m, rest, m.Promotable())
			}
		}
	}
}
