package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/wire"
)

// Row is one row of the fault matrix.
type Row struct {
	Number int
	What   string        // its kind, as in the evidence
	TTL    time.Duration // of its plane
	Main   bool          // it runs wherever tests run
	Quiet  time.Duration // the longest time without an acknowledged write while it lasts, if that is bounded
	run    func(context.Context, *harm) error
}

// Bounds that the matrix does not give: how long etcd takes to elect a leader, a node to
// load and to announce itself, and this machine to react to a clock.
const (
	election  = time.Second
	promotion = 500 * time.Millisecond
	slack     = 300 * time.Millisecond
)

// margin is how long before the end of its lease a master stops.
func margin(ttl time.Duration) time.Duration { return max(500*time.Millisecond, ttl/10) }

// failover is how soon there is a new master once the old one has stopped renewing.
func failover(ttl time.Duration) time.Duration { return ttl + time.Second + promotion + time.Second }

// whole is how soon a plane is complete again after all faults are healed.
func whole(ttl time.Duration) time.Duration {
	return ttl + election + 2*time.Second + promotion + 5*time.Second
}

// harm is a row in progress.
type harm struct {
	*Plane
	row    *Row
	master *fleet.Node // when it begins
	term   int64
	begun  time.Duration
	rules  []stretch
	before wire.Counts
	notes  []string
}

// stretch is the links from some hosts to others.
type stretch struct {
	from, to []string
	rule     wire.Rule
}

// both are the links between some hosts and others, with the same rule in each direction.
func both(a, b []string, r wire.Rule) []stretch { return []stretch{{a, b, r}, {b, a, r}} }

var errHarmless = errors.New("no packet met the rule: the fault did not happen")

// Result is the result of a row.
type Result struct {
	Row   *Row
	Took  time.Duration
	Notes []string // figures, for people
	Err   error
}

// Run runs a row on a complete plane, and waits until it is complete again.
func (p *Plane) Run(ctx context.Context, row *Row) Result {
	begun := p.Now()
	h := &harm{Plane: p, row: row}
	err := h.all(ctx)
	p.wire.Heal()
	return Result{Row: row, Took: p.Now() - begun, Notes: h.notes, Err: err}
}

func (h *harm) all(ctx context.Context) (err error) {
	if h.master, err = h.whole(ctx); err != nil {
		return err
	}
	state, err := h.master.State(ctx)
	if err != nil {
		return err
	}
	h.term = state.Term
	if err := h.row.run(ctx, h); err != nil {
		return err
	}
	_, err = h.whole(ctx)
	return err
}

// whole waits until there is a master, all nodes serve, and clients are at work.
func (h *harm) whole(ctx context.Context) (*fleet.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, whole(h.cfg.TTL))
	defer cancel()
	master, err := h.AwaitMaster(ctx, whole(h.cfg.TTL))
	if err != nil {
		return nil, err
	}
	for _, n := range h.Nodes {
		if err := n.AwaitServing(ctx, whole(h.cfg.TTL)); err != nil {
			return nil, err
		}
	}
	for before := h.Acknowledged(); h.Acknowledged() < before+enough; {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, fmt.Errorf("clients get nothing done: %w", err)
		}
	}
	return master, nil
}

// enough is how many answers clients get before a fault begins, so that it hits something.
const enough = 50

// strike sets rules, and records the fault that begins with them. The returned func ends
// it, and fails if no packet met a rule. Only a fault that disturbs may end a term, and
// then there is a master again within the limit.
func (h *harm) strike(target string, limit time.Duration, rules ...stretch) (heal func() error) {
	h.begun, h.rules = h.Now(), rules
	h.before = h.counts()
	for _, s := range rules {
		r := s.rule
		if h.cfg.Blunt {
			r = wire.Rule{}
		}
		h.wire.Set(s.from, s.to, r)
	}
	return func() error {
		for _, s := range rules {
			h.wire.Set(s.from, s.to, wire.Rule{})
		}
		met := h.met()
		if met == 0 {
			return errHarmless
		}
		h.NoteFault(evidence.Fault{
			What: h.row.What, Target: target, From: h.begun, To: h.Now(),
			Detail: fmt.Sprintf("%d packets met it", met), Disturbing: limit > 0, Limit: limit,
		})
		return nil
	}
}

func (h *harm) counts() (sum wire.Counts) {
	for _, s := range h.rules {
		sum = sum.Plus(h.wire.Counts(s.from, s.to))
	}
	return sum
}

// met is how many packets met a rule since the fault began.
func (h *harm) met() int {
	now := h.counts()
	harmed := func(c wire.Counts) int {
		return c.Dropped + c.Rejected + c.Delayed + c.Duplicated + c.Reordered + c.Overflowed
	}
	return harmed(now) - harmed(h.before)
}

// since is how long ago the fault began.
func (h *harm) since() time.Duration { return h.Now() - h.begun }

func (h *harm) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

// pause waits for as long as a fault is to last.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait: %w", ctx.Err())
	}
}

// soon repeats check until it succeeds, and fails with its last error when the fault is
// older than the limit.
func (h *harm) soon(ctx context.Context, what string, limit time.Duration, so func(context.Context) error) error {
	for {
		asked := h.since()
		err := so(ctx)
		if err == nil && asked <= limit {
			h.note("%s after %s", what, asked.Round(time.Millisecond))
			return nil
		}
		if err == nil {
			err = fmt.Errorf("only after %s", asked)
		}
		if asked > limit {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
