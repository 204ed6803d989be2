package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// candidate makes a member that could be promoted; change spoils or adorns it.
func candidate(id string, change ...func(*driver.Member)) driver.Member {
	m := driver.Member{
		Record: driver.Record{ID: id, Mode: modes.Auto, State: modes.StateHotStandby, Version: "1.0.0"},
		Joined: 10, Candidacy: 20,
	}
	for _, c := range change {
		c(&m)
	}
	return m
}

func TestCandidates_Order(t *testing.T) {
	set := func(f func(*driver.Member)) func(*driver.Member) { return f }
	priority := func(p int) func(*driver.Member) { return set(func(m *driver.Member) { m.Priority = p }) }
	version := func(v string) func(*driver.Member) { return set(func(m *driver.Member) { m.Version = v }) }
	cold := set(func(m *driver.Member) { m.State, m.Mode = modes.StateStandby, modes.Standby })
	joined := func(r rebind.Revision) func(*driver.Member) {
		return set(func(m *driver.Member) { m.Joined = r })
	}
	quit := set(func(m *driver.Member) { m.GaveUp = 7 })
	cases := []struct {
		name string
		best driver.Member
		next driver.Member
	}{
		{"higher priority wins", candidate("b", priority(1)), candidate("a")},
		{"zero beats a negative priority", candidate("b"), candidate("a", priority(-1))},
		{"priority outranks version", candidate("b", priority(1), version("0.1.0")), candidate("a", version("9.0.0"))},
		{"newer version wins", candidate("b", version("1.10.0")), candidate("a", version("1.9.0"))},
		{"a v before it makes no difference", candidate("b", version("v1.10.0")), candidate("a", version("1.9.0"))},
		{"every release before every pre-release", candidate("b", version("1.0.0")), candidate("a", version("2.0.0-rc.1"))},
		{"pre-releases among each other", candidate("b", version("2.0.0-rc.2")), candidate("a", version("2.0.0-rc.1"))},
		{"what is no version comes last", candidate("b", version("1.0.0-alpha")), candidate("a", version("devel"))},
		{"version outranks hotness", candidate("b", cold, version("1.0.1")), candidate("a")},
		{"hot before cold", candidate("b"), candidate("a", cold)},
		{"hotness outranks waiting", candidate("b", joined(99)), candidate("a", cold, joined(1))},
		{"who waited longest", candidate("b", joined(1)), candidate("a", joined(2))},
		{"at last the id", candidate("a"), candidate("b")},
		{"who gave the term up comes last", candidate("b", cold, priority(-9)), candidate("a", priority(9), quit)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, members := range [][]driver.Member{{c.best, c.next}, {c.next, c.best}} {
				got := policy.Candidates(driver.Plane{PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 7}}, Members: members})
				if len(got) != 2 || got[0].ID != c.best.ID {
					t.Errorf("candidates = %v, want %s first", ids(got), c.best.ID)
				}
			}
		})
	}
}

func TestCandidates_GivingUpCountsForItsOwnVacancyOnly(t *testing.T) {
	quitter := candidate("a", func(m *driver.Member) { m.GaveUp, m.Priority = 7, 1 })
	got := policy.Candidates(driver.Plane{PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 8}}, Members: []driver.Member{candidate("b"), quitter}})
	if got[0].ID != "a" {
		t.Errorf("candidates = %v, want a first: the term it gave up is history", ids(got))
	}
}

func TestPromotable_SaysWhyNot(t *testing.T) {
	cases := []struct {
		name   string
		change func(*driver.Member)
		why    string // empty: promotable
	}{
		{"a hot standby in the election", func(*driver.Member) {}, ""},
		{"a cold one", func(m *driver.Member) { m.State = modes.StateStandby }, ""},
		{"the master", func(m *driver.Member) { m.State = modes.StateMaster }, ""},
		{"a hot backup", func(m *driver.Member) { m.Mode, m.State = modes.HotBackup, modes.StateHotBackup }, "never promoted"},
		{"a node that changes", func(m *driver.Member) { m.State = modes.StateInitializing }, "INITIALIZING"},
		{"a failed node", func(m *driver.Member) { m.State = modes.StateFailed }, "FAILED"},
		{"a node outside the election", func(m *driver.Member) { m.Candidacy = 0 }, "not in the election"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ok, why := policy.Promotable(candidate("a", c.change))
			if ok != (c.why == "") || !strings.Contains(why, c.why) {
				t.Errorf("promotable = %t, %q, want %q", ok, why, c.why)
			}
		})
	}
}

func TestCandidates_AnswerDoesNotDependOnTheOrderOfRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfN(rapid.Custom(anyMember), 1, 8).Draw(t, "members")
		for i := range members {
			members[i].ID = fmt.Sprintf("n%d", i)
		}
		p := driver.Plane{PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 7}}, Members: members}
		first := ids(policy.Candidates(p))
		p.Members = rapid.Permutation(members).Draw(t, "other order")
		if again := ids(policy.Candidates(p)); !slices.Equal(first, again) {
			t.Fatalf("%v and %v", first, again)
		}
		for _, id := range first {
			if m, _ := p.Member(id); !m.Mode.Promotable() || !m.State.Electable() || m.Candidacy == 0 {
				t.Fatalf("%+v is a candidate", m)
			}
		}
	})
}

// Promise: the choice is the rule, and nothing else: who gave the term up last, then by
// priority, version, hotness, time in the plane and id. So any two are in the same order
// whoever else is there.
func TestCandidates_LikeTheRule(t *testing.T) {
	versions := []string{"1.1.0", "1.0.0", "2.0.0-rc.1", "devel", ""} // as they rank
	place := func(m *driver.Member) []int {
		one := map[bool]int{true: 1}
		version := min(slices.Index(versions, m.Version), 3) // what is no version is like any other
		return []int{one[m.GaveUp == 7], -m.Priority, version, one[m.State != modes.StateHotStandby], int(m.Joined)}
	}
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfN(rapid.Custom(anyMember), 1, 8).Draw(t, "members")
		for i := range members {
			members[i].ID = fmt.Sprintf("n%d", i)
		}
		found := policy.Candidates(driver.Plane{PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 7}}, Members: members})
		for i := range found[:max(len(found)-1, 0)] {
			a, b := &found[i], &found[i+1]
			if order := slices.Compare(place(a), place(b)); order > 0 || order == 0 && a.ID > b.ID {
				t.Fatalf("%+v comes before %+v", a, b)
			}
		}
	})
}

func anyMember(t *rapid.T) driver.Member {
	return driver.Member{
		Record: driver.Record{
			Mode:     rapid.SampledFrom(modes.Modes()).Draw(t, "mode"),
			State:    rapid.SampledFrom(modes.States()).Draw(t, "state"),
			Priority: rapid.IntRange(-1, 1).Draw(t, "priority"),
			Version:  rapid.SampledFrom([]string{"1.0.0", "1.1.0", "2.0.0-rc.1", "devel", ""}).Draw(t, "version"),
			GaveUp:   rapid.SampledFrom([]int64{0, 6, 7}).Draw(t, "gave up"),
		},
		Joined:    rapid.SampledFrom([]rebind.Revision{1, 2}).Draw(t, "joined"),
		Candidacy: rapid.SampledFrom([]rebind.Revision{0, 3}).Draw(t, "candidacy"),
	}
}

func ids(members []driver.Member) []string {
	var found []string
	for _, m := range members {
		found = append(found, m.ID)
	}
	return found
}

func TestNext_SaysWhy(t *testing.T) {
	set := func(f func(*driver.Member)) func(*driver.Member) { return f }
	cases := map[string]struct {
		best, other func(*driver.Member)
	}{
		"higher priority than b": {
			func(m *driver.Member) { m.Priority = -1 }, func(m *driver.Member) { m.Priority = -2 },
		},
		"newer version than b": {
			func(m *driver.Member) { m.Version = "1.0.0" }, func(m *driver.Member) { m.Version = "2.0.0-rc.1" },
		},
		"hot, where b is cold": {
			func(*driver.Member) {}, func(m *driver.Member) { m.State = modes.StateStandby },
		},
		"here for longer than b": {
			func(m *driver.Member) { m.Joined = 1 }, func(m *driver.Member) { m.Joined = 2 },
		},
		"b has just given the term up": {
			func(*driver.Member) {}, func(m *driver.Member) { m.GaveUp, m.Priority = 7, 9 },
		},
	}
	for want, c := range cases {
		p := driver.Plane{
			PlaneCore: driver.PlaneCore{Holder: driver.Holder{Term: 7}},
			Members:   []driver.Member{candidate("b", set(c.other)), candidate("a", set(c.best))},
		}
		if id, why := policy.Next(p); id != "a" || why != want {
			t.Errorf("next = %s, %q, want a, %q", id, why, want)
		}
	}
	alone := driver.Plane{Members: []driver.Member{candidate("a")}}
	if id, why := policy.Next(alone); id != "a" || why != "the only candidate" {
		t.Errorf("next = %s, %q", id, why)
	}
	if id, why := policy.Next(driver.Plane{}); id != "" || why != "" {
		t.Errorf("next = %s, %q in an empty plane", id, why)
	}
}
