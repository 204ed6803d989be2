package integration_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// Promise: a mirror whose changes were compacted away before it saw them loads
// everything anew; no change is lost and none comes twice.
func TestMirror_ReloadsWhenItsChangesWereCompacted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 30*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	backup := c.node("c", "hot_backup")
	backup.await("HOT_BACKUP")
	a.mustPut("entity/old", "1")
	a.mustPut("entity/gone", "1")
	eventually(t, maxWait, func() error { return backup.reads("entity/gone", "1") })

	backup.signal(syscall.SIGSTOP)
	// A restart of etcd cuts the stream, so that what follows is not on its way.
	c.etcd.kill()
	c.startEtcd()
	eventually(t, maxWait, func() error {
		if got, err := a.put("entity/new", []byte("1")); err != nil || got.status/100 != 2 {
			return fmt.Errorf("put: %+v %w", got, err)
		}
		return nil
	})
	if code, _, stderr := command(t, "memento", "delete", "entity/gone", "--server", a.url); code != 0 {
		t.Fatalf("delete: %d %s", code, stderr)
	}
	if _, err := c.raw.Compact(t.Context(), c.revision()); err != nil {
		t.Fatal(err)
	}
	backup.signal(syscall.SIGCONT)

	eventually(t, maxWait, func() error { return backup.reads("entity/new", "1") })
	if err := backup.reads("entity/old", "1"); err != nil {
		t.Error(err)
	}
	if err := backup.reads("entity/gone", "1"); err == nil {
		t.Error("a deletion was missed")
	}
	if backup.field("watch compacted, reloading mirror", "rev") == "" {
		t.Error("no reload was needed, so none was tested")
	}
}
