package bubble_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// plan is what a plane consists of and what is done to it. It follows from a seed.
type plan struct {
	Seed  uint64
	TTL   time.Duration
	Notes bool // processes keep notes on disk, so that a new one revokes the lease of the one before
	Nodes []nodePlan
	Steps []step
}

// nodePlan is how a node is started, each time.
type nodePlan struct {
	ID       string
	Mode     modes.Mode
	Priority int
	Cold     bool
	Delay    time.Duration // when it starts after the first node
}

// step is one thing that is done to a plane.
type step struct {
	At   time.Duration
	What string
	Who  string        // a node; or the "master", the "next" or a "live" node of that time
	For  time.Duration // 0: it does not last
	More int           // for some kinds: how much
}

// String formats a plan for people.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: lease %s, notes on disk: %t\n", p.Seed, p.TTL, p.Notes)
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "  node %s %s priority %d cold %t after %s\n", n.ID, n.Mode, n.Priority, n.Cold, n.Delay)
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  %8s %-14s %-6s", s.At, s.What, s.Who)
		if s.For > 0 {
			fmt.Fprintf(&b, " for %s", s.For)
		}
		if s.More != 0 {
			fmt.Fprintf(&b, " (%d)", s.More)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// again is how to run a plan again, and its text.
func (p *plan) again() string {
	return fmt.Sprintf("again: go test ./test/lab/bubble -run TestSeeds -artifacts -seed %d\n%s", p.Seed, p)
}

// kind is a kind of step and how often it is drawn.
type kind struct {
	what   string
	weight int
	brief  bool // it does not last
	few    bool // it is not for a single node
}

// kinds lists everything that is done to planes, by the word for its fault.
var kinds = []kind{
	{what: "cut", weight: 8},
	{what: "cut-requests", weight: 5},
	{what: "cut-answers", weight: 6},
	{what: "reject", weight: 4},
	{what: "slow", weight: 6},
	{what: "loss", weight: 4},
	{what: "flap", weight: 2},
	{what: "starve", weight: 4},
	{what: "mute", weight: 4},
	{what: "only renewals", weight: 4},
	{what: "deny", weight: 6},
	{what: "break", weight: 4, brief: true},
	{what: "lose", weight: 8},
	{what: "kill", weight: 8},
	{what: "stop", weight: 6},
	{what: "two-kills", weight: 2, few: true},
	{what: "all-kills", weight: 1, few: true},
	{what: "mode", weight: 8, brief: true},
	{what: "handover", weight: 8, brief: true},
	{what: "priority", weight: 3, brief: true},
	{what: "pause", weight: 3, few: true},
	{what: "program-slow", weight: 2},
	{what: "program-hangs", weight: 2},
	{what: "unread", weight: 3},
	{what: "program-fails", weight: 2},
	{what: "program-panics", weight: 2},
	{what: "revoke", weight: 4, brief: true},
	{what: "drop-candidate", weight: 4, brief: true},
	{what: "drop-record", weight: 3, brief: true},
	{what: "drop-term", weight: 1, brief: true, few: true},
	{what: "edit-term", weight: 1, brief: true, few: true},
	{what: "stray", weight: 2, brief: true, few: true},
	{what: "stray-candidate", weight: 2, brief: true},
	{what: "etcd-restart", weight: 4, few: true},
	{what: "compact", weight: 4, brief: true, few: true},
}

// newPlan draws a plan.
func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := &plan{
		Seed:  seed,
		TTL:   time.Duration([]int{2, 2, 3, 4, 6, 10}[r.IntN(6)]) * time.Second,
		Notes: r.IntN(3) > 0,
	}
	starts := []modes.Mode{modes.Auto, modes.Auto, modes.Auto, modes.HotStandby, modes.Standby, modes.HotBackup}
	for i := range 3 + r.IntN(5) {
		n := nodePlan{
			ID: string(rune('a' + i)), Mode: starts[r.IntN(len(starts))], Priority: r.IntN(3) - 1,
			Cold: r.IntN(4) == 0, Delay: millis(r, 0, 200),
		}
		if i < 2 {
			n.Mode = modes.Auto // somebody has to be able to lead, whichever node is lost
		}
		p.Nodes = append(p.Nodes, n)
	}
	at := time.Duration(0)
	for range 20 + r.IntN(41) {
		at += millis(r, 200, 2500)
		p.Steps = append(p.Steps, p.draw(r, at))
	}
	return p
}

// draw draws one step.
func (p *plan) draw(r *rand.Rand, at time.Duration) step {
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	pick := r.IntN(sum)
	var k kind
	for _, k = range kinds {
		if pick -= k.weight; pick < 0 {
			break
		}
	}
	s := step{At: at, What: k.what, More: r.IntN(1000)}
	switch who := r.IntN(10); {
	case k.few:
	case who < 6:
		s.Who = "master"
	case who < 8:
		s.Who = "next"
	default:
		s.Who = p.Nodes[r.IntN(len(p.Nodes))].ID
	}
	if !k.brief {
		// Between what a lease survives and what it does not.
		s.For = millis(r, 100, int(p.TTL/time.Millisecond)*5/2)
	}
	if k.what == "unread" { // nobody may notice a shorter one
		s.For += driver.StallLimit(p.TTL)
	}
	return s
}

func millis(r *rand.Rand, from, to int) time.Duration {
	return time.Duration(from+r.IntN(to-from)) * time.Millisecond
}
