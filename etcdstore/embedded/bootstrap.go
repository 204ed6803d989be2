// Recovers a data directory whose very first start was cut short.

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// clearAbortedBootstrap puts aside the data of a member whose very first start was cut
// short after its log was created and before anything was written to it. etcd takes a
// member with a log for one that has run before, looks in the log for the members of its
// cluster, does not even find itself, and waits forever.
//
// A log without a raft term has never stored anything, or has lost everything, so the data
// is moved and not deleted. With more than one log file that stage is past, and any other
// damage is left for etcd to report.
func clearAbortedBootstrap(dir string, log *zap.Logger) error {
	member := filepath.Join(dir, "member")
	files, err := filepath.Glob(filepath.Join(member, "wal", "*.wal"))
	if err != nil || len(files) != 1 {
		return nil
	}
	state, err := wal.Verify(zap.NewNop(), filepath.Dir(files[0]), &walpb.Snapshot{})
	if err != nil || state.GetTerm() != 0 {
		return nil
	}
	aside := member + "-cut-short-" + time.Now().UTC().Format("20060102T150405.000")
	log.Warn("etcd's first start was cut short before it stored anything, starting over", zap.String("moved_to", aside))
	if err := os.Rename(member, aside); err != nil {
		return fmt.Errorf("put aside the rest of a first start: %w", err)
	}
	return nil
}
