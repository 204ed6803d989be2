package driver

import (
	"errors"
	"fmt"
	"time"
)

// patienceOverTTL covers what a store takes to end a lapsed lease, and one slow call.
const patienceOverTTL = 3 * time.Second

// YieldFor is how long a store lets a candidate that makes way wait for its
// turn; after that it may take a term that is still vacant out of turn.
const YieldFor = time.Second

// StallLimit is for how long a node may be in the way of others without making progress,
// where leases have the given TTL: as a candidate whose turn it is, as one that is elected
// and not yet MASTER, by a lease that is renewed while nothing else is answered, or by one
// for which it does not vouch. A node's own loop comes round each second, and no step of
// it that may wait takes as long as this.
func StallLimit(ttl time.Duration) time.Duration { return ttl + patienceOverTTL }

// Attempts are those of a candidate to begin a term, for a store to judge when it is to make
// room for others. The zero value has none behind it. It belongs to one goroutine.
type Attempts struct {
	since time.Time // the first of a row that failed; zero if the last one did not
	term  int64     // the last term then
	last  error
}

// Failed notes that a try has failed, while term was the last one as far as is known.
func (t *Attempts) Failed(err error, term int64) {
	if t.since.IsZero() {
		t.since, t.term = time.Now(), term
	}
	t.last = err
}

// Judge returns nil while the candidate may go on, and an [ErrStuck] that says what
// failed last when it has failed for [StallLimit], or when somebody else has begun a term
// in spite of it meanwhile.
func (t *Attempts) Judge(term int64, ttl time.Duration) error {
	failing := time.Since(t.since)
	switch {
	case t.since.IsZero() || NobodyCan(t.last):
		return nil
	case failing >= StallLimit(ttl):
		return fmt.Errorf("%w in the election for %s: %w", ErrStuck, StallLimit(ttl), t.last)
	case failing >= YieldFor && term > t.term:
		return fmt.Errorf("%w in the election, another node has begun a term: %w", ErrStuck, t.last)
	default:
		return nil
	}
}

// NobodyCan reports whether a try has failed as everybody's would: then nothing is won by
// making room.
func NobodyCan(err error) bool {
	return errors.Is(err, ErrStoreFull) || errors.Is(err, ErrStoreCorrupt)
}

// Reset notes that a try has not failed.
func (t *Attempts) Reset() { *t = Attempts{} }
