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

// clearUnborn puts aside a member whose very first start was cut short when its log
// had been made and held nothing yet. etcd takes a member with a log for one that
// has been here before, looks there for the members of its cluster, finds not even
// itself, and waits for ever.
//
// A log without a raft term has never stored anything, or has lost everything: so
// what is there is moved and not removed. Once there is more than one file to it
// that is past, and whatever else is wrong is for etcd to say.
func clearUnborn(dir string, log *zap.Logger) error {
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
	log.Warn("etcd's first start was cut short before it stored anything, starting anew", zap.String("moved_to", aside))
	if err := os.Rename(member, aside); err != nil {
		return fmt.Errorf("put aside the rest of a first start: %w", err)
	}
	return nil
}
