package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file says who can be promoted, who is better than another, and who is next.

// Promotable reports whether m could be promoted as it is, and if not why not.
// Of the present master it reports whether it could be elected again.
func Promotable(m driver.Member) (ok bool, why string) {
	switch {
	case !m.Mode.Promotable():
		return false, fmt.Sprintf("mode %s is never promoted", m.Mode)
	case m.State == modes.StateMaster:
		return true, ""
	case !m.State.Electable():
		return false, fmt.Sprintf("state is %s", m.State)
	case m.Candidacy == 0:
		return false, "is not in the election"
	default:
		return true, ""
	}
}

// Candidates returns the members that could take the term from its present or
// last holder, the best first.
func Candidates(p driver.Plane) []driver.Member {
	var found []driver.Member
	for _, m := range p.Members {
		if ok, _ := Promotable(m); ok && m.State != modes.StateMaster {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b driver.Member) int { return compare(p.Holder.Term, a, b) })
	return found
}

// criterion is one thing by which candidates are ranked. compare is negative if a
// is better, for the vacancy that the end of the given term makes.
type criterion struct {
	why     string // of a better candidate than %s
	compare func(term int64, a, b *driver.Member) int
}

// criteria are the ranking, the first difference counts.
func criteria() []criterion {
	return []criterion{
		{"%s has just given the term up", func(term int64, a, b *driver.Member) int { return last(GaveUp(term, *a), GaveUp(term, *b)) }},
		{"higher priority than %s", func(_ int64, a, b *driver.Member) int { return cmp.Compare(b.Priority, a.Priority) }},
		{"newer version than %s", func(_ int64, a, b *driver.Member) int { return compareVersions(a.Version, b.Version) }},
		{"hot, where %s is cold", func(_ int64, a, b *driver.Member) int { return last(!a.State.Hot(), !b.State.Hot()) }},
		{"here for longer than %s", func(_ int64, a, b *driver.Member) int { return cmp.Compare(a.Joined, b.Joined) }},
		{"lower id than %s", func(_ int64, a, b *driver.Member) int { return cmp.Compare(a.ID, b.ID) }},
	}
}

// compare orders candidates for the vacancy that the end of the given term
// makes, or would make: the better one first.
func compare(term int64, a, b driver.Member) int {
	order, _ := rank(term, &a, &b)
	return order
}

// rank is compare, with what decided it if a is better.
func rank(term int64, a, b *driver.Member) (order int, why string) {
	for _, c := range criteria() {
		if order := c.compare(term, a, b); order != 0 {
			return order, fmt.Sprintf(c.why, b.ID)
		}
	}
	return 0, ""
}

// Next tells who would lead if the term became vacant now, and why that one. It
// is empty if nobody could.
func Next(p driver.Plane) (id, why string) {
	best := Candidates(p)
	switch len(best) {
	case 0:
		return "", ""
	case 1:
		return best[0].ID, "the only candidate"
	default:
		_, why := rank(p.Holder.Term, &best[0], &best[1])
		return best[0].ID, why
	}
}

// GaveUp reports whether m made the vacancy itself, by its own will.
func GaveUp(term int64, m driver.Member) bool { return term != 0 && m.GaveUp == term }

// last puts whatever is true of one alone behind the other.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// compareVersions puts every release before every pre-release, then the newer
// one first; what is no semantic version comes last.
func compareVersions(a, b string) int {
	if a == b {
		return 0
	}
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errA != nil || errB != nil {
		return last(errA != nil, errB != nil)
	}
	return cmp.Or(
		last(va.Prerelease() != "", vb.Prerelease() != ""),
		vb.Compare(va),
	)
}

// Eligible reports whether a node stands for election: it may be promoted, and is
// ready to be.
func Eligible(mode modes.Mode, state modes.State) bool {
	return mode.Promotable() && state.Electable()
}
