package etcdstore_test

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// Asking whether the store takes writes writes nothing, and a store that is full
// says so.
func TestStore_WritableTellsAndChangesNothing(t *testing.T) {
	l := newLab(t)
	s := l.node("a")
	before, err := s.Plane(l.ctx())
	l.must(err)
	l.must(s.Writable(l.ctx(), recordOf("a")))
	after, err := s.Plane(l.ctx())
	l.must(err)
	if after.Revision != before.Revision {
		t.Errorf("revision %d, it was %d", after.Revision, before.Revision)
	}
	alarm := func(action pb.AlarmRequest_AlarmAction) error {
		status, err := l.raw.Status(l.ctx(), endpoint)
		if err != nil {
			return err
		}
		_, err = pb.NewMaintenanceClient(l.raw.ActiveConnection()).Alarm(l.ctx(), &pb.AlarmRequest{
			Action: action, Alarm: pb.AlarmType_NOSPACE, MemberID: status.Header.MemberId,
		})
		return err
	}
	l.must(alarm(pb.AlarmRequest_ACTIVATE))
	full := s.Writable(l.ctx(), recordOf("a"))
	l.must(alarm(pb.AlarmRequest_DEACTIVATE))
	if !errors.Is(full, driver.ErrStoreFull) {
		t.Errorf("with the alarm raised: %v", full)
	}
	l.must(s.Writable(l.ctx(), recordOf("a")))
}
