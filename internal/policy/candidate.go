package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file says what a candidate does that sees a vacant term.

// YieldFor is how long a candidate that makes way waits for a better one. After that it
// may take a term that is still vacant out of its turn.
const YieldFor = time.Second

// MaxYields is how often a candidate makes way in one vacancy. A better candidate that is
// dead must not keep the plane without a master.
const MaxYields = 3

// Choice is what a candidate does about a vacant term.
type Choice int

const (
	// Take is to begin the term.
	Take Choice = iota
	// MakeWay is to leave the term to a better candidate.
	MakeWay
	// Hold is to wait until the plane has changed.
	Hold
)

// Choose tells what the candidate node does about the vacant term of p, and the better
// candidate for which it makes way. An ordered candidate takes the term even in a pause.
func Choose(p driver.Plane, node string, ordered bool) (c Choice, better string) {
	switch best := Candidates(p); {
	case ordered:
		return Take, ""
	case p.Pause != nil:
		return Hold, ""
	case len(best) == 0 || best[0].ID == node:
		return Take, ""
	default:
		return MakeWay, best[0].ID
	}
}

// Attempts are those of a candidate to begin a term. They tell when it is to make room for
// others. The zero value has none behind it. It belongs to one goroutine.
type Attempts struct {
	since time.Time // when the present series of failures began; zero if the last one succeeded
	term  int64     // the last term then
	last  error
}

// Failed notes that an attempt has failed, while term was the last one as far as is known.
func (a *Attempts) Failed(err error, term int64, now time.Time) {
	if a.since.IsZero() {
		a.since, a.term = now, term
	}
	a.last = err
}

// Succeeded notes that an attempt has not failed.
func (a *Attempts) Succeeded() { *a = Attempts{} }

// Stuck returns nil while the candidate may go on. It returns a [driver.ErrStuck] that
// wraps the last failure once attempts have failed for limit, or once another node has
// begun a term, later than the one that was last when they began to fail.
func (a *Attempts) Stuck(term int64, limit time.Duration, now time.Time) error {
	failing := now.Sub(a.since)
	switch {
	case a.since.IsZero() || NobodyCan(a.last):
		return nil
	case failing >= limit:
		return fmt.Errorf("%w in the election for %s: %w", driver.ErrStuck, limit, a.last)
	case failing >= YieldFor && term > a.term:
		return fmt.Errorf("%w in the election, another node has begun a term: %w", driver.ErrStuck, a.last)
	default:
		return nil
	}
}

// NobodyCan reports whether every node would fail as this one has. Then nothing is won by
// making room for others.
func NobodyCan(err error) bool {
	return errors.Is(err, driver.ErrStoreFull) || errors.Is(err, driver.ErrStoreCorrupt)
}
