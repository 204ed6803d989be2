// The checks of doctor. They work on collected facts alone and do no I/O.

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// staleAfter is the age above which a copy counts as old; copies are confirmed once a
// second.
const staleAfter = 5 * time.Second

// diagnose runs all checks; those of the whole plane come first.
func (f *facts) diagnose() []finding {
	var all []finding
	for _, check := range []func() []finding{
		f.store, f.storeNotes, f.disabled, f.master, f.next, f.strays, f.paused, f.handover, f.permission, f.versions,
		f.reachable, f.leases, f.failed, f.trouble, f.mirrors, f.quarantine, f.lost,
	} {
		all = append(all, check()...)
	}
	return all
}

// pass is a check of the plane that found nothing wrong.
func pass(id, found string, args ...any) []finding {
	return []finding{{ID: id, OK: true, Found: fmt.Sprintf(found, args...)}}
}

// fail is a check of the plane that found something wrong.
func fail(id, advice, found string, args ...any) []finding {
	return []finding{{ID: id, Found: fmt.Sprintf(found, args...), Advice: advice}}
}

// eachPeer runs a check on each node that answers. The check returns what is wrong, or
// nothing; fine is reported if nothing is wrong with any.
func (f *facts) eachPeer(id, fine, advice string, check func(p *peer) string) []finding {
	var found []finding
	for i := range f.peers {
		p := &f.peers[i]
		if p.node == nil {
			continue
		}
		if what := check(p); what != "" {
			found = append(found, finding{ID: id, Node: p.id, Found: what, Advice: advice})
		}
	}
	if found == nil {
		return pass(id, "%s", fine)
	}
	return found
}

func (f *facts) store() []finding {
	if err := f.plane.StoreError; denies(err) {
		return pass("store", "answers, but does not let node %s in: see permission", f.asked.ID)
	} else if err != "" {
		advice := `check that most of etcd's members run and can be reached from this node: "etcdctl endpoint status --cluster". The nodes recover by themselves`
		if strings.Contains(err, driver.ErrStoreFull.Error()) {
			advice = `delete what is not needed, then compact and defragment etcd and disarm its alarm: "etcdctl compact", "etcdctl defrag", "etcdctl alarm disarm"`
		}
		if strings.Contains(err, driver.ErrStoreCorrupt.Error()) {
			advice = `etcd has found that its members' data differ. Find the corrupt one with "etcdctl endpoint hashkv --cluster" and the members' logs, replace it ("etcdctl member remove", then add it again with an empty data directory), then "etcdctl alarm disarm"; if you cannot tell which one it is, restore a backup`
		}
		return fail("store", advice, "%s", err)
	}
	return pass("store", "answers at revision %d and accepts writes, so most of its members are up", f.plane.Revision)
}

func (f *facts) storeNotes() []finding {
	var found []finding
	for _, note := range f.plane.StoreNotes {
		found = append(found, finding{
			ID: "store", Node: f.asked.ID, Found: note,
			Advice: "check etcd, and the node's --endpoints and --lease-ttl; the plane keeps running meanwhile",
		})
	}
	return found
}

func (f *facts) disabled() []finding {
	if s := f.plane.ExclusiveNode(); s != nil && s.Node != "" {
		return fail("disabled", fmt.Sprintf("when its work is done, stop node %s and start it in another mode", s.Node),
			"node %s at %s has the plane to itself, no other can join", s.Node, orDash(s.URI))
	}
	return nil
}

func (f *facts) master() []finding {
	switch {
	case f.plane.ExclusiveNode() != nil:
		return nil
	case f.plane.Master != nil:
		return pass("master", "%s leads term %d", *f.plane.Master, f.plane.Term)
	case f.plane.StoreError != "":
		return fail("master", "repair the store first: without it no node can lead", "the master is not known")
	case f.plane.Pause != nil:
		return fail("master", `"coordinator resume", or make one node lead: "coordinator mode master --node NODE"`, "there is none, and promotion is paused")
	case f.plane.Next != nil:
		return fail("master", fmt.Sprintf("check again in a few seconds. If nothing changes, see the log of node %s", *f.plane.Next), "there is none, and %s is about to lead%s", *f.plane.Next, f.failedAttempts())
	default:
		return fail("master", "start a node in mode auto, or give a live one a mode that may lead: \"coordinator mode auto --node NODE\"", "there is none, and no node that could become master")
	}
}

// failedAttempts says what has kept nodes from leading.
func (f *facts) failedAttempts() string {
	var b strings.Builder
	for _, n := range f.plane.Nodes {
		if n.LastError != "" && n.State != modes.StateFailed {
			fmt.Fprintf(&b, "; %s has tried: %s", n.ID, n.LastError)
		}
	}
	return b.String()
}

func (f *facts) strays() []finding {
	if len(f.plane.Strays) == 0 {
		return pass("strays", "every key of the plane is valid")
	}
	var found []finding
	for _, s := range f.plane.Strays {
		found = append(found, fail("strays",
			fmt.Sprintf("find out who put it there; if it is not needed, delete it: etcdctl del %q", s.Key),
			"key %q %s", s.Key, s.Why)...)
	}
	return found
}

func (f *facts) next() []finding {
	switch {
	case f.plane.ExclusiveNode() != nil, f.plane.Master == nil:
		return nil
	case f.plane.Next == nil:
		found := "no node could take over from " + *f.plane.Master
		for _, n := range f.plane.Nodes {
			if n.WhyNot != "" {
				found += fmt.Sprintf("; %s: %s", n.ID, n.WhyNot)
			}
		}
		return fail("next", "start another node in mode auto, hot_standby or standby, on another machine", "%s", found)
	default:
		return pass("next", "%s would take over: %s", *f.plane.Next, f.plane.NextWhy)
	}
}

func (f *facts) paused() []finding {
	if p := f.plane.Pause; p != nil {
		return fail("paused", `"coordinator resume" once the work for which it was paused is done`,
			"no node is promoted automatically, %s; paused by %s since %s", pauseEnd(p), p.By, p.Since.Format(time.RFC3339))
	}
	return pass("paused", "promotion is not paused")
}

func (f *facts) handover() []finding {
	if f.dryRun == nil || f.plane.Next == nil {
		return nil
	}
	for _, c := range f.dryRun.Checks {
		if !c.OK && c.Name != permissionCheck {
			return fail("handover", `fix what "coordinator handover --dry-run" shows`, "would not succeed: %s: %s", c.Name, c.Reason)
		}
	}
	return pass("handover", "would succeed")
}

// permissionCheck names the check of a dry run that asks etcd about permissions.
const permissionCheck = "permission"

// denies reports whether a store error means that the store answers but does not let the
// node in or do its work.
func denies(storeError string) bool { return strings.Contains(storeError, driver.ErrDenied.Error()) }

func (f *facts) permission() []finding {
	const advice = `fix its certificate or password, or give its etcd user the role that "coordinator auth bootstrap --node NODE=MODE" prints. Nothing has to be restarted`
	var found []finding
	for _, p := range f.peers {
		said := p.storeError
		if p.id == f.asked.ID {
			said = f.plane.StoreError
		}
		if denies(said) {
			found = append(found, finding{ID: "permission", Node: p.id, Found: said, Advice: advice})
		}
	}
	switch {
	case found != nil:
		return found
	case f.dryRunErr != nil:
		return fail("permission", "run doctor again; if this stays, see the master's log", "could not be checked: %v", f.dryRunErr)
	case f.dryRun == nil:
		return nil
	}
	for _, c := range f.dryRun.Checks {
		switch {
		case c.Name != permissionCheck || c.OK:
		case denies(c.Reason):
			return fail("permission", advice, "%s", c.Reason)
		case f.plane.StoreError != "": // reported by the check above
			return nil
		default:
			return fail("permission", "run doctor again; if this stays, see the master's log", "could not be checked: %s", c.Reason)
		}
	}
	return pass("permission", "each node may make the writes of its mode, and the master those of a handover")
}

func (f *facts) versions() []finding {
	byVersion := make(map[string][]string)
	for _, n := range f.plane.Nodes {
		byVersion[n.Version] = append(byVersion[n.Version], n.ID)
	}
	if len(byVersion) < 2 {
		return pass("versions", "all nodes run the same version")
	}
	var lines []string
	for version, ids := range byVersion {
		lines = append(lines, fmt.Sprintf("%s: %s", orDash(version), strings.Join(ids, ", ")))
	}
	slices.Sort(lines)
	return fail("versions", "finish the upgrade: backups and standbys first, the master last", "%s", strings.Join(lines, "; "))
}

func (f *facts) reachable() []finding {
	var found []finding
	for _, p := range f.peers {
		if errors.Is(p.silent, errNoAddress) {
			found = append(found, finding{
				ID: "reachable", Node: p.id, Found: wire.NoAddress,
				Advice: "writes cannot be forwarded to it, and commands reach it only where it listens. Give it the URL at which the other nodes reach its API",
			})
			continue
		}
		if p.silent != nil {
			found = append(found, finding{
				ID: "reachable", Node: p.id, Found: fmt.Sprintf("does not answer at %s: %v", orDash(p.uri), p.silent),
				Advice: "writes cannot be forwarded to it. Check whether the process hangs, whether the network lets requests through, and its --advertise-url",
			})
		}
	}
	if found == nil {
		return pass("reachable", "each of the %d nodes answers at its address", len(f.peers))
	}
	return found
}

func (f *facts) leases() []finding {
	return f.eachPeer("lease", "each node that answers holds its lease",
		"check whether this node reaches the store, and whether its process was stopped or its machine slept. It joins again by itself",
		func(p *peer) string {
			if p.node.LeaseRemainingMS > 0 || p.node.State == modes.StateFailed && p.node.Mode == modes.Disabled {
				return ""
			}
			return "its lease can no longer be relied on"
		})
}

func (f *facts) failed() []finding {
	return f.eachPeer("failed", "no node has failed",
		`fix the problem, then make the node try again: "coordinator mode MODE --server URL" with its own URL; stop a node that was started in mode disabled and start it in another`,
		func(p *peer) string {
			if p.node.State != modes.StateFailed {
				return ""
			}
			return orDash(p.node.LastError)
		})
}

func (f *facts) trouble() []finding {
	return f.eachPeer("trouble", "no node reports trouble",
		"fix the problem; the node's log says more. The node keeps running meanwhile",
		func(p *peer) string {
			if p.node.State == modes.StateFailed {
				return ""
			}
			return p.node.LastError
		})
}

func (f *facts) mirrors() []finding {
	return f.eachPeer("mirror", fmt.Sprintf("no copy is older than %s", staleAfter),
		"check whether this node reaches the store. It serves what it has and reports its age",
		func(p *peer) string {
			m := p.node.Mirror
			switch {
			case m == nil:
				return ""
			case m.Revision == 0:
				return fmt.Sprintf("is loading: %d of %d mementos", m.Loaded, m.Total)
			case m.StalenessMS > staleAfter.Milliseconds():
				return fmt.Sprintf("was last confirmed to be current %s ago", (time.Duration(m.StalenessMS) * time.Millisecond).Round(time.Second))
			default:
				return ""
			}
		})
}

func (f *facts) quarantine() []finding {
	return f.eachPeer("quarantine", "every memento can be used",
		`put or delete each of them: "coordinator memento put TYPE/ID FILE". GET /v1/node lists them`,
		func(p *peer) string {
			if p.node.Quarantined == 0 {
				return ""
			}
			return fmt.Sprintf("%d mementos cannot be used%s", p.node.Quarantined, firstFault(p.node))
		})
}

func (f *facts) lost() []finding {
	var found []finding
	for _, l := range f.plane.Left {
		if l.How == driver.DepartureLost {
			found = append(found, finding{
				ID: "lost", Node: l.ID, Found: fmt.Sprintf("vanished %s ago, it was %s", age(l.At), l.Was),
				Advice: fmt.Sprintf("see its log and its machine, and start it again. If it is not to come back: \"coordinator forget %s\"", l.ID),
			})
		}
	}
	if found == nil {
		return pass("lost", "no node has vanished within the last hour")
	}
	return found
}
