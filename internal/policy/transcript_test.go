package policy_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

var update = flag.Bool("update", false, "write what the policy says into testdata")

// TestOrder runs testdata/order.txt: planes, one member a line, and after a line of dashes
// who may lead, in order, and who may not and why. After a change on purpose run it with
// -update and read the diff.
func TestOrder(t *testing.T) {
	const file = "testdata/order.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var members []driver.Member
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line + "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "----":
			out.WriteString(order(members))
			members = nil
			for i+1 < len(lines) && lines[i+1] != "" {
				i++ // what it said the last time
			}
		default:
			m, err := parse(strings.Fields(line))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			members = append(members, m)
		}
	}
	switch got := out.String(); {
	case got == string(text):
	case *update:
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the policy says otherwise (-update rewrites %s):\n%s", file, got)
	}
}

// order tells who may lead after term 7, best first, and who may not.
func order(members []driver.Member) string {
	var out strings.Builder
	p := driver.Plane{PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 7}}, Members: members}
	for i, m := range policy.Candidates(p) {
		fmt.Fprintf(&out, "%d. %s\n", i+1, m.ID)
	}
	for _, m := range members {
		if ok, why := policy.Promotable(m); !ok {
			fmt.Fprintf(&out, "not %s: %s\n", m.ID, why)
		}
	}
	return out.String()
}

// parse reads an id and what is not as it is by default.
func parse(fields []string) (driver.Member, error) {
	m := candidate(fields[0])
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		number, err := strconv.Atoi(value)
		switch key {
		case "priority":
			m.Priority = number
		case "joined":
			m.Joined = rebind.Revision(number)
		case "version":
			m.Version, err = value, nil
		case "mode":
			err = m.Mode.UnmarshalText([]byte(value))
		case "state":
			err = m.State.UnmarshalText([]byte(value))
		case "gave-up":
			m.GaveUp, err = 7, nil
		case "cold":
			m.Mode, m.State, err = modes.Standby, modes.StateStandby, nil
		case "no-candidacy":
			m.Candidacy, err = 0, nil
		default:
			err = fmt.Errorf("no field %s", key)
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}
