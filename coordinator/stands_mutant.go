//go:build mutant_backupstands

package coordinator

import "github.com/coordinator-ha/coordinator/modes"

// stands of this mutant has a hot_backup node stand as well. It exists to show that
// etcd's permissions keep such a node from leading.
func stands(mode modes.Mode, state modes.State) bool {
	return mode.Promotable() && state.Electable() || state == modes.StateHotBackup
}
