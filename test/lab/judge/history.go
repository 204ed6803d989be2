package judge

import (
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// history is all versions of each memento, in order.
type history map[string][]version

// version is what a memento was from a revision on.
type version struct {
	memento
	revision int64
	deleted  bool
	byHand   bool
}

// readHistory reads the mementos' histories.
func readHistory(run *evidence.Run) history {
	h := make(history)
	for i := range run.Events {
		ev := &run.Events[i]
		name, ours := strings.CutPrefix(ev.Key, "mementos/")
		if !ours {
			continue
		}
		v := version{revision: ev.Revision, deleted: ev.Deleted, byHand: slices.Contains(run.Hands, ev.Revision)}
		if !ev.Deleted {
			v.memento, _ = readMemento(ev.Value, ev.Revision)
		}
		h[name] = append(h[name], v)
	}
	return h
}

// at returns what a memento was at a revision; deleted if it did not exist.
func (h history) at(name string, revision int64) version {
	versions := h[name]
	next, _ := slices.BinarySearchFunc(versions, revision+1, func(v version, at int64) int { return int(v.revision - at) })
	if next == 0 {
		return version{deleted: true}
	}
	return versions[next-1]
}

// put returns the revision at which a memento was given a payload; 0: never.
func (h history) put(name, payload string) int64 {
	for _, v := range h[name] {
		if !v.deleted && v.payload == payload {
			return v.revision
		}
	}
	return 0
}
