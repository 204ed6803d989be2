package coordinator

import "github.com/coordinator-ha/coordinator/modes"

// stands reports whether a node stands for election: it may be promoted, and is
// ready to be.
func stands(mode modes.Mode, state modes.State) bool {
	return mode.Promotable() && state.Electable()
}
