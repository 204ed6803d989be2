package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// healthy returns the facts of a plane with nothing wrong.
func healthy() *facts {
	a, b := "a", "b"
	f := &facts{dryRun: &wire.DryRunReply{OK: true, Checks: []wire.Check{{Name: "mirror", OK: true}, {Name: permissionCheck, OK: true}}}}
	f.plane = wire.Plane{Plane: "p", Master: &a, Next: &b, NextWhy: "the only candidate", Term: 4, Revision: 10}
	for i, id := range []string{a, b} {
		state := []modes.State{modes.StateMaster, modes.StateHotStandby}[i]
		f.plane.Nodes = append(f.plane.Nodes, wire.PlaneNode{
			Record: driver.Record{ID: id, State: state, Version: "v1.0.0", URI: "http://" + id}, Promotable: true,
		})
		f.peers = append(f.peers, peer{id: id, uri: "http://" + id, node: &wire.Node{
			ID: id, State: state, LeaseRemainingMS: 5000, Mirror: &wire.Mirror{Revision: 10, StalenessMS: 900},
		}})
	}
	f.asked = *f.peers[0].node
	return f
}

// failing lists the ids of the failed checks.
func failing(t *testing.T, f *facts) []string {
	t.Helper()
	var ids []string
	for _, c := range f.diagnose() {
		if c.Found == "" || c.OK == (c.Advice != "") {
			t.Errorf("finding %+v lacks a description or advice", c)
		}
		if !c.OK && !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func TestDoctor_FindsWhatIsWrong(t *testing.T) {
	none := (*string)(nil)
	for name, c := range map[string]struct {
		harm func(f *facts)
		ids  string
	}{
		"nothing":              {func(*facts) {}, ""},
		"a store that is down": {func(f *facts) { f.plane.StoreError = "it does not answer" }, "store"},
		"a store that is full": {func(f *facts) { f.plane.StoreError = "store is full" }, "store"},
		"a store that is corrupt, which the master reports too": {func(f *facts) {
			f.plane.StoreError = "it takes no writes: store is corrupt"
			f.dryRun.Checks[1] = wire.Check{Name: permissionCheck, Reason: "store is corrupt"}
		}, "store"},
		"a dry run that was cut short":   {func(f *facts) { f.dryRun.Checks[1] = wire.Check{Name: permissionCheck, Reason: "lost"} }, "permission"},
		"a note on the store":            {func(f *facts) { f.plane.StoreNotes = []string{"etcd at x cannot be relied on"} }, "store"},
		"no master, and one to come":     {func(f *facts) { f.plane.Master, f.dryRun = none, nil }, "master"},
		"no master and no candidate":     {func(f *facts) { f.plane.Master, f.plane.Next, f.dryRun = none, none, nil }, "master"},
		"no master because of the store": {func(f *facts) { f.plane.Master, f.dryRun, f.plane.StoreError = none, nil, "x" }, "store master"},
		"no master in a pause":           {func(f *facts) { f.plane.Master, f.dryRun, f.plane.Pause = none, nil, &driver.Pause{} }, "master paused"},
		"a stray key":                    {func(f *facts) { f.plane.Strays = []driver.Stray{{Key: "/c/p/election/x", Why: "w"}} }, "strays"},
		"no successor":                   {func(f *facts) { f.plane.Next, f.plane.Nodes[1].WhyNot = none, "is not in the election" }, "next"},
		"a pause":                        {func(f *facts) { f.plane.Pause = &driver.Pause{By: "a"} }, "paused"},
		"a handover that would fail":     {func(f *facts) { f.dryRun.Checks[0].OK = false }, "handover"},
		"writes that are not allowed": {func(f *facts) {
			f.dryRun.Checks[1] = wire.Check{Name: permissionCheck, Reason: "store denies access: x"}
		}, "permission"},
		"a node that may not write":     {func(f *facts) { f.peers[1].storeError = "it takes no writes: store denies access: x" }, "permission"},
		"a node that is not let in":     {func(f *facts) { f.plane.StoreError = "store denies access: x" }, "permission"},
		"a master that does not answer": {func(f *facts) { f.dryRun, f.dryRunErr = nil, errors.New("lost") }, "permission"},
		"two versions":                  {func(f *facts) { f.plane.Nodes[0].Version = "v2.0.0" }, "versions"},
		"a node that does not answer":   {func(f *facts) { f.peers[0].node, f.peers[0].silent = nil, errors.New("refused") }, "reachable"},
		"a lease that is over":          {func(f *facts) { f.peers[1].node.LeaseRemainingMS = 0 }, "lease"},
		"a node that failed":            {func(f *facts) { f.peers[1].node.State, f.peers[1].node.LastError = modes.StateFailed, "why" }, "failed"},
		"a node that has trouble":       {func(f *facts) { f.peers[1].node.LastError = "data directory: no room" }, "trouble"},
		"a copy that is old":            {func(f *facts) { f.peers[1].node.Mirror.StalenessMS = 60_000 }, "mirror"},
		"a copy that is loading":        {func(f *facts) { f.peers[1].node.Mirror = &wire.Mirror{Loaded: 1, Total: 2} }, "mirror"},
		"a memento in quarantine": {func(f *facts) {
			n := f.peers[0].node
			n.Quarantined, n.Quarantine = 1, []wire.Fault{{Name: "entity/x", Reason: "garbage"}}
		}, "quarantine"},
		"a node that vanished": {func(f *facts) {
			f.plane.Left = []driver.Departed{{Record: driver.Record{ID: "c"}, How: driver.DepartureLost, At: time.Now()}}
		}, "lost"},
		"a node that stopped cleanly": {func(f *facts) {
			f.plane.Left = []driver.Departed{{Record: driver.Record{ID: "c"}, How: driver.DepartureStopped, At: time.Now()}}
		}, ""},
		"a disabled node": {func(f *facts) {
			f.plane = wire.Plane{Exclusive: &driver.Guard{Node: "a", URI: "http://a"}}
			f.peers, f.dryRun = f.peers[:1], nil
		}, "disabled"},
		"a disabled node of an older version": {func(f *facts) {
			f.plane = wire.Plane{FormerExclusive: &driver.Guard{Node: "a", URI: "http://a"}}
			f.peers, f.dryRun = f.peers[:1], nil
		}, "disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			c.harm(f)
			if got := strings.Join(failing(t, f), " "); got != c.ids {
				t.Errorf("failed checks %q, want %q", got, c.ids)
			}
		})
	}
}

// A failed check names the node and the thing, so that nobody has to search.
func TestDoctor_SaysWhoAndWhat(t *testing.T) {
	f := healthy()
	f.peers[0].node.Quarantined = 1
	f.peers[0].node.Quarantine = []wire.Fault{{Name: "entity/x", Reason: "garbage"}}
	for _, c := range f.diagnose() {
		if c.ID == "quarantine" {
			if said := fmt.Sprintf("%s %s", c.Node, c.Found); !strings.Contains(said, f.peers[0].id) || !strings.Contains(said, "entity/x: garbage") {
				t.Errorf("finding = %+v", c)
			}
		}
	}
}

// Without a master doctor names the nodes that have failed to lead and why, and each stray
// key, as status does.
func TestDoctor_SaysWhyNobodyLeads(t *testing.T) {
	f := healthy()
	f.plane.Master, f.dryRun = nil, nil
	f.plane.Nodes[1].LastError = "no progress: etcd does not permit it"
	f.plane.Strays = []driver.Stray{{Key: "/c/p/election/x\x1b[2J", Why: "does not hang on a lease"}}
	said := ""
	for _, c := range f.diagnose() {
		said += c.Found + "\n" + c.Advice + "\n"
	}
	var shown strings.Builder
	if err := planeTable(&shown, &f.plane, &f.asked, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"b has tried: no progress: etcd does not permit it", `/c/p/election/x\x1b[2J" does not hang`, "etcdctl del"} {
		if !strings.Contains(said, want) {
			t.Errorf("doctor does not say %q:\n%s", want, said)
		}
	}
	for _, want := range []string{"no progress: etcd does not permit it", `STRAY`, `/c/p/election/x\x1b[2J" does not hang`} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("status does not say %q:\n%s", want, shown.String())
		}
	}
}
