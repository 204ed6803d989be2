package modes_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/modes"
)

// Short names, so that the table below can be read as one.
const (
	initializing = modes.StateInitializing
	standby      = modes.StateStandby
	hotStandby   = modes.StateHotStandby
	hotBackup    = modes.StateHotBackup
	master       = modes.StateMaster
	failed       = modes.StateFailed
	terminated   = modes.StateTerminated
)

// decisions says of every state which states may follow it, in the order of allStates.
func decisions() map[modes.State][]bool {
	const yes, no = true, false
	return map[modes.State][]bool{
		//             initializing, standby, hot standby, hot backup, master, failed, terminated
		initializing: {yes, yes, yes, yes, yes, yes, yes},
		standby:      {yes, yes, no, no, no, yes, yes},
		hotStandby:   {yes, yes, yes, yes, yes, yes, yes},
		hotBackup:    {yes, yes, yes, yes, no, yes, yes},
		master:       {yes, yes, yes, yes, no, yes, yes},
		failed:       {yes, no, no, no, no, yes, yes},
		terminated:   {no, no, no, no, no, no, no},
	}
}

func TestCanBecome_EveryStateAfterEveryState(t *testing.T) {
	table := decisions()
	for _, from := range modes.States() {
		row := table[from]
		if len(row) != len(modes.States()) {
			t.Errorf("%s: %d of %d states are decided", from, len(row), len(modes.States()))
			continue
		}
		for i, to := range modes.States() {
			if got := modes.CanBecome(from, to); got != row[i] {
				t.Errorf("%s can become %s: %t, want %t", from, to, got, row[i])
			}
		}
	}
	if len(table) != len(modes.States()) {
		t.Errorf("%d states are decided, there are %d", len(table), len(modes.States()))
	}
}

func TestCanBecome_RefusesWhatIsNotValid(t *testing.T) {
	for _, bad := range []modes.State{0, terminated + 1, 255} {
		for _, s := range append(modes.States(), bad) {
			if modes.CanBecome(bad, s) || modes.CanBecome(s, bad) {
				t.Errorf("%s and %s may follow one another", bad, s)
			}
		}
	}
}

// Promise: a node can settle in the resting state of its mode, whatever the mode.
func TestCanBecome_EveryModeHasAPlaceToRest(t *testing.T) {
	for _, m := range modes.Modes() {
		for _, hot := range []bool{true, false} {
			if rest := m.Rest(hot); !modes.CanBecome(initializing, rest) || !modes.CanBecome(rest, rest) {
				t.Errorf("a node of mode %s cannot settle in %s", m, rest)
			}
		}
	}
}

// Promise: a hot backup is never promoted. Whatever happens to it, it passes
// through a state in which its mode was changed before it can lead.
func TestCanBecome_NoWayFromHotBackupToMaster(t *testing.T) {
	if modes.CanBecome(hotBackup, master) {
		t.Error("a hot backup can become master")
	}
	for _, from := range modes.States() {
		if modes.CanBecome(from, master) && from != initializing && from != hotStandby {
			t.Errorf("%s can become master", from)
		}
	}
}

func TestCanBecome_AnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := initializing
		for _, to := range rapid.SliceOfN(rapid.SampledFrom(modes.States()), 1, 60).Draw(t, "states") {
			if !modes.CanBecome(state, to) {
				continue // what is refused changes nothing
			}
			if state == terminated {
				t.Fatalf("a node that is TERMINATED becomes %s", to)
			}
			if to == master && state != initializing && state != hotStandby {
				t.Fatalf("%s becomes MASTER", state)
			}
			if state == failed && !slices.Contains([]modes.State{failed, terminated, initializing}, to) {
				t.Fatalf("FAILED becomes %s without a fresh start", to)
			}
			state = to
		}
	})
}
