package driver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

func TestCheckDelta(t *testing.T) {
	const maxPayload = 1000
	deletes := func(n int) (d rebind.Delta) {
		for i := range n {
			d.Ops = append(d.Ops, rebind.Op{Name: rebind.Name(fmt.Sprintf("entity/%d", i))})
		}
		return d
	}
	payload := func(size int) rebind.Delta {
		return rebind.Delta{Ops: []rebind.Op{{Name: "entity/x", Put: &rebind.Content{Payload: make([]byte, size)}}}}
	}
	for _, c := range []struct {
		name    string
		delta   rebind.Delta
		ok      bool
		tooMuch bool
		says    string
	}{
		{"the most operations", deletes(120), true, false, ""},
		{"one operation too many", deletes(121), false, true, "121 operations, a delta holds at most 120"},
		{"the largest payload", payload(maxPayload), true, false, ""},
		{"a payload one too large", payload(maxPayload + 1), false, true, "payload of entity/x has 1001 bytes, the limit is 1000"},
		{"a delta that breaks the rules", rebind.Delta{}, false, false, "at least one operation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := driver.CheckDelta(&c.delta, maxPayload)
			if (err == nil) != c.ok || errors.Is(err, driver.ErrTooLarge) != c.tooMuch || errors.Is(err, rebind.ErrInvalid) == c.ok {
				t.Errorf("check = %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

func TestConflictError(t *testing.T) {
	err := fmt.Errorf("put: %w", &driver.ConflictError{Op: 2, Name: "entity/x", Expect: rebind.Absent, Actual: 9})
	if !errors.Is(err, rebind.ErrConflict) || errors.Is(err, driver.ErrFenced) {
		t.Errorf("%v is not just an ErrConflict", err)
	}
	for _, part := range []string{"entity/x", "revision 9", "none"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "operation") {
		t.Errorf("error %q counts operations, which a single put has none of", err)
	}
	for expect, want := range map[rebind.Revision]string{rebind.Absent: "none", rebind.Present: "one to exist", 4: "revision 4"} {
		if e := (&driver.ConflictError{Name: "entity/x", Expect: expect}); !strings.HasSuffix(e.Error(), "expected "+want) {
			t.Errorf("error %q does not say that it expected %s", e, want)
		}
	}
	gone := &driver.ConflictError{Name: "entity/x", Expect: 4}
	if !strings.Contains(gone.Error(), "does not exist") {
		t.Errorf("error %q does not say that there is none", gone)
	}
}
