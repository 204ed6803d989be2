package modes_test

import (
	"fmt"

	"github.com/coordinator-ha/coordinator/modes"
)

// A mode is read from text, as a flag or a configuration file has it, and says where a node in
// it stands by.
func ExampleMode() {
	var mode modes.Mode
	fmt.Println(mode.UnmarshalText([]byte("Hot-Standby")), mode)
	fmt.Println("it may be promoted:", mode.Promotable(), "- and waits for a master at start:", mode.NeedsMaster())
	fmt.Println("auto stands by as", modes.Auto.Rest(true), "or, without a mirror, as", modes.Auto.Rest(false))
	fmt.Println(mode.UnmarshalText([]byte("leader")))
	// Output:
	// <nil> hot_standby
	// it may be promoted: true - and waits for a master at start: true
	// auto stands by as HOT_STANDBY or, without a mirror, as STANDBY
	// unknown mode "leader": use one of auto, master, standby, hot_standby, hot_backup, disabled
}

// A state says what a node can do: serve reads, and be elected.
func ExampleState() {
	for _, s := range modes.States() {
		fmt.Printf("%-12s readable %-5t electable %t\n", s, s.Readable(), s.Electable())
	}
	// Output:
	// INITIALIZING readable false electable false
	// STANDBY      readable false electable true
	// HOT_STANDBY  readable true  electable true
	// HOT_BACKUP   readable true  electable false
	// MASTER       readable true  electable false
	// FAILED       readable false electable false
	// TERMINATED   readable false electable false
}

// A hot backup is never promoted: to lead, it has to change its mode first.
func ExampleCanBecome() {
	fmt.Println(modes.CanBecome(modes.StateHotStandby, modes.StateMaster))
	fmt.Println(modes.CanBecome(modes.StateHotBackup, modes.StateMaster))
	fmt.Println(modes.CanBecome(modes.StateHotBackup, modes.StateHotStandby))
	// Output:
	// true
	// false
	// true
}
