package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is what doctor knows: it decides on the facts and asks nobody.

// staleAfter is how old a copy may be that is confirmed once a second.
const staleAfter = 5 * time.Second

// diagnose draws all findings from the facts, what concerns all nodes first.
func (f *facts) diagnose() []finding {
	var all []finding
	for _, look := range []func() []finding{
		f.store, f.storeNotes, f.disabled, f.master, f.next, f.strays, f.paused, f.handover, f.permission, f.versions,
		f.reachable, f.leases, f.failed, f.trouble, f.mirrors, f.quarantine, f.lost,
	} {
		all = append(all, look()...)
	}
	return all
}

// well is a finding about the plane that is as it should be.
func well(id, found string, args ...any) []finding {
	return []finding{{ID: id, OK: true, Found: fmt.Sprintf(found, args...)}}
}

// wrong is one that is not.
func wrong(id, advice, found string, args ...any) []finding {
	return []finding{{ID: id, Found: fmt.Sprintf(found, args...), Advice: advice}}
}

// ofPeers asks look about each node that answers: what is wrong with it, if
// anything. fine is told where nothing is.
func (f *facts) ofPeers(id, fine, advice string, look func(p *peer) string) []finding {
	var found []finding
	for i := range f.peers {
		p := &f.peers[i]
		if p.node == nil {
			continue
		}
		if what := look(p); what != "" {
			found = append(found, finding{ID: id, Node: p.id, Found: what, Advice: advice})
		}
	}
	if found == nil {
		return well(id, "%s", fine)
	}
	return found
}

func (f *facts) store() []finding {
	if err := f.plane.StoreError; denies(err) {
		return well("store", "answers, but does not let node %s in: see permission", f.asked.ID)
	} else if err != "" {
		advice := `see whether most of etcd's members run and can be reached from this node: "etcdctl endpoint status --cluster". The nodes come back by themselves`
		if strings.Contains(err, rebind.ErrStoreFull.Error()) {
			advice = `delete what is not needed, then compact and defragment etcd and disarm its alarm: "etcdctl compact", "etcdctl defrag", "etcdctl alarm disarm"`
		}
		if strings.Contains(err, rebind.ErrStoreCorrupt.Error()) {
			advice = `etcd has found its members' data to differ. See which by "etcdctl endpoint hashkv --cluster" and the members' logs, replace that one ("etcdctl member remove", then add it again with an empty data directory), then "etcdctl alarm disarm"; if it is not known which, restore a backup`
		}
		return wrong("store", advice, "%s", err)
	}
	return well("store", "answers at revision %d and takes writes, so most of its members are there", f.plane.Revision)
}

func (f *facts) storeNotes() []finding {
	var found []finding
	for _, note := range f.plane.StoreNotes {
		found = append(found, finding{
			ID: "store", Node: f.asked.ID, Found: note,
			Advice: "see to etcd, and to the node's --endpoints and --lease-ttl: the plane goes on meanwhile",
		})
	}
	return found
}

func (f *facts) disabled() []finding {
	if s := f.plane.ExclusiveNode(); s != nil && s.Node != "" {
		return wrong("disabled", fmt.Sprintf("when its work is done stop node %s, and start it in another mode", s.Node),
			"node %s at %s has the plane to itself, no other can join", s.Node, s.URI)
	}
	return nil
}

func (f *facts) master() []finding {
	switch {
	case f.plane.ExclusiveNode() != nil:
		return nil
	case f.plane.Master != nil:
		return well("master", "%s leads term %d", *f.plane.Master, f.plane.Term)
	case f.plane.StoreError != "":
		return wrong("master", "see to the store first: without it nobody can lead", "none is seen")
	case f.plane.Pause != nil:
		return wrong("master", `"coordinator resume", or have one node lead: "coordinator mode master --node NODE"`, "there is none, and promotion is paused")
	case f.plane.Next != nil:
		return wrong("master", fmt.Sprintf("ask again in a few seconds. If it stays so, see the log of node %s", *f.plane.Next), "there is none, and %s is about to lead%s", *f.plane.Next, f.inVain())
	default:
		return wrong("master", "start a node in mode auto, or give a live one a mode that may lead: \"coordinator mode auto --node NODE\"", "there is none, and nobody who could be")
	}
}

// inVain tells what has kept nodes from leading.
func (f *facts) inVain() string {
	var told strings.Builder
	for _, n := range f.plane.Nodes {
		if n.LastError != "" && n.State != modes.StateFailed {
			fmt.Fprintf(&told, "; %s has tried: %s", n.ID, n.LastError)
		}
	}
	return told.String()
}

func (f *facts) strays() []finding {
	if len(f.plane.Strays) == 0 {
		return well("strays", "every key of the plane is what its place says")
	}
	var found []finding
	for _, s := range f.plane.Strays {
		found = append(found, wrong("strays",
			fmt.Sprintf("see who put it there; if nobody needs it, delete it: etcdctl del %q", s.Key),
			"key %q %s", s.Key, s.Why)...)
	}
	return found
}

func (f *facts) next() []finding {
	switch {
	case f.plane.ExclusiveNode() != nil, f.plane.Master == nil:
		return nil
	case f.plane.Next == nil:
		found := "nobody could take over from " + *f.plane.Master
		for _, n := range f.plane.Nodes {
			if n.WhyNot != "" {
				found += fmt.Sprintf("; %s: %s", n.ID, n.WhyNot)
			}
		}
		return wrong("next", "start another node in mode auto, hot_standby or standby, on another machine", "%s", found)
	default:
		return well("next", "%s would take over: %s", *f.plane.Next, f.plane.NextWhy)
	}
}

func (f *facts) paused() []finding {
	if p := f.plane.Pause; p != nil {
		return wrong("paused", `"coordinator resume" when the work is done for which it was paused`,
			"nobody is promoted by itself, %s; paused by %s since %s", pauseEnd(p), p.By, p.Since.Format(time.RFC3339))
	}
	return well("paused", "promotion is not paused")
}

func (f *facts) handover() []finding {
	if f.rehearsal == nil || f.plane.Next == nil {
		return nil
	}
	for _, c := range f.rehearsal.Checks {
		if !c.OK && c.Name != permissionCheck {
			return wrong("handover", `put right what "coordinator handover --dry-run" shows`, "would not succeed: %s: %s", c.Name, c.Reason)
		}
	}
	return well("handover", "would succeed")
}

// permissionCheck is the check of a dry run that asks etcd.
const permissionCheck = "permission"

// denies reports whether a store error is that of a store which answers and does
// not let the node in, or do what it has to.
func denies(storeError string) bool { return strings.Contains(storeError, rebind.ErrDenied.Error()) }

func (f *facts) permission() []finding {
	const advice = `put right its certificate or its password; or give its etcd user the role that "coordinator auth bootstrap --node NODE=MODE" prints. Nothing has to be restarted`
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
	case f.unrehearsed != nil:
		return wrong("permission", "ask again; if it stays so see the master's log", "could not be told: %v", f.unrehearsed)
	case f.rehearsal == nil:
		return nil
	}
	for _, c := range f.rehearsal.Checks {
		switch {
		case c.Name != permissionCheck || c.OK:
		case denies(c.Reason):
			return wrong("permission", advice, "%s", c.Reason)
		case f.plane.StoreError != "": // which is told above
			return nil
		default:
			return wrong("permission", "ask again; if it stays so see the master's log", "could not be told: %s", c.Reason)
		}
	}
	return well("permission", "each node may make the writes of its mode, and the master those of a handover")
}

func (f *facts) versions() []finding {
	byVersion := make(map[string][]string)
	for _, n := range f.plane.Nodes {
		byVersion[n.Version] = append(byVersion[n.Version], n.ID)
	}
	if len(byVersion) < 2 {
		return well("versions", "all nodes run the same")
	}
	var told []string
	for version, ids := range byVersion {
		told = append(told, fmt.Sprintf("%s: %s", orDash(version), strings.Join(ids, ", ")))
	}
	slices.Sort(told)
	return wrong("versions", "finish the upgrade: backups and standbys first, the master last", "%s", strings.Join(told, "; "))
}

func (f *facts) reachable() []finding {
	var found []finding
	for _, p := range f.peers {
		if p.silent != nil {
			found = append(found, finding{
				ID: "reachable", Node: p.id, Found: fmt.Sprintf("does not answer at %s: %v", orDash(p.uri), p.silent),
				Advice: "writes cannot be forwarded there. See whether the process hangs, whether the network lets it through, and its --advertise-url",
			})
		}
	}
	if found == nil {
		return well("reachable", "each of the %d nodes answers where it says it does", len(f.peers))
	}
	return found
}

func (f *facts) leases() []finding {
	return f.ofPeers("lease", "each node that answers holds its lease",
		"see whether this node reaches the store, and whether its process was stopped or its machine slept. It joins again by itself",
		func(p *peer) string {
			if p.node.LeaseRemainingMS > 0 || p.node.State == modes.StateFailed && p.node.Mode == modes.Disabled {
				return ""
			}
			return "its lease can no longer be relied on"
		})
}

func (f *facts) failed() []finding {
	return f.ofPeers("failed", "no node has failed",
		`put right what it says, then have it start afresh: "coordinator mode MODE --server URL" with its own URL; one that was started in mode disabled is stopped and started in another`,
		func(p *peer) string {
			if p.node.State != modes.StateFailed {
				return ""
			}
			return orDash(p.node.LastError)
		})
}

func (f *facts) trouble() []finding {
	return f.ofPeers("trouble", "no node has trouble",
		"put right what it says; its log says more. The node goes on meanwhile",
		func(p *peer) string {
			if p.node.State == modes.StateFailed {
				return ""
			}
			return p.node.LastError
		})
}

func (f *facts) mirrors() []finding {
	return f.ofPeers("mirror", fmt.Sprintf("no copy is older than %s", staleAfter),
		"see whether this node reaches the store. It serves what it has, with its age",
		func(p *peer) string {
			m := p.node.Mirror
			switch {
			case m == nil:
				return ""
			case m.Revision == 0:
				return fmt.Sprintf("is loading, and has come to %d of %d mementos", m.Loaded, m.Total)
			case m.StalenessMS > staleAfter.Milliseconds():
				return fmt.Sprintf("was last known to be current %s ago", (time.Duration(m.StalenessMS) * time.Millisecond).Round(time.Second))
			default:
				return ""
			}
		})
}

func (f *facts) quarantine() []finding {
	return f.ofPeers("quarantine", "every memento can be used",
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
		if l.How == coordinator.DepartureLost {
			found = append(found, finding{
				ID: "lost", Node: l.ID, Found: fmt.Sprintf("vanished %s ago, it was %s", lasted(l.At), l.Was),
				Advice: fmt.Sprintf("see its log and its machine, and start it again. If it is not to come back: \"coordinator forget %s\"", l.ID),
			})
		}
	}
	if found == nil {
		return well("lost", "no node has vanished within the last hour")
	}
	return found
}
