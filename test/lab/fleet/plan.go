package fleet

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan is what is done to a fleet: drawn from a seed, or written by hand.
type Plan struct {
	Seed  uint64        // also of the clients
	TTL   time.Duration // of the nodes' leases
	Steps []Step
}

// Step is one fault.
type Step struct {
	// Wait is how long the plane is left in peace first, once it has recovered from the
	// steps before. A step that is Together with the one before starts that long after it,
	// without waiting for its end.
	Wait     time.Duration
	Together bool
	What     string        // a kind of fault
	On       string        // its target: a role, resolved when it begins
	For      time.Duration // 0: it is over at once
}

var errNoPlan = errors.New("not a plan")

// String formats the plan as [ParsePlan] reads it.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nttl %s\n", p.Seed, p.TTL)
	for _, s := range p.Steps {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// String formats the step's line in a plan.
func (s Step) String() string {
	mark := ""
	if s.Together {
		mark = "+"
	}
	return fmt.Sprintf("%s%s %s %s %s", mark, s.Wait, s.What, s.On, s.For)
}

// ParsePlan parses a plan: the seed, the TTL, and a line for each step with its wait, kind,
// role and length. A wait that begins with + is that of a step together with the one
// before.
func ParsePlan(text string) (p Plan, err error) {
	for number, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			continue
		case fields[0] == "seed" && len(fields) == 2:
			p.Seed, err = strconv.ParseUint(fields[1], 10, 64)
		case fields[0] == "ttl" && len(fields) == 2:
			p.TTL, err = time.ParseDuration(fields[1])
		case len(fields) == 4:
			var s Step
			s, err = parseStep(fields)
			p.Steps = append(p.Steps, s)
		default:
			err = errNoPlan
		}
		if err != nil {
			return p, fmt.Errorf("line %d of plan, %q: %w", number+1, line, err)
		}
	}
	if p.TTL == 0 {
		return p, fmt.Errorf("%w: it has no ttl", errNoPlan)
	}
	return p, nil
}

func parseStep(fields []string) (s Step, err error) {
	wait, together := strings.CutPrefix(fields[0], "+")
	s.Together, s.What, s.On = together, fields[1], fields[2]
	if s.Wait, err = time.ParseDuration(wait); err != nil {
		return s, fmt.Errorf("wait: %w", err)
	}
	if s.For, err = time.ParseDuration(fields[3]); err != nil {
		return s, fmt.Errorf("length: %w", err)
	}
	kind, known := kinds()[s.What]
	if !known || !kind.takes(s.On) {
		return s, fmt.Errorf("%w: there is no fault %s-%s", errNoPlan, s.What, s.On)
	}
	return s, nil
}

// TTLs from which a plan draws. With the first, a change of etcd's leader may cost the
// master its term; with the second it may not.
const (
	shortTTL = 2 * time.Second
	longTTL  = 6 * time.Second
)

// Draw draws the plan of a seed, with enough steps for a run of the given length. Each plan
// begins with a step that no plane without a fence would survive: the master's term is
// taken away by hand in a storm of writes.
func Draw(seed uint64, length time.Duration) Plan {
	chance, urn := stream(seed, "plan"), urn()
	p := Plan{Seed: seed, TTL: shortTTL}
	if chance.IntN(3) == 0 {
		p.TTL = longTTL
	}
	hands := []string{"unelect", "unterm"}
	p.Steps = []Step{{Wait: time.Second, What: hands[chance.IntN(len(hands))], On: onMaster}}
	for left := length; left > 0; {
		s := draw(chance, urn, p.TTL)
		s.Wait = 400*time.Millisecond + time.Duration(chance.IntN(600))*time.Millisecond
		p.Steps = append(p.Steps, s)
		left -= s.Wait + s.For + time.Second // a step that costs the plane its master takes longer
		if s.alone() || chance.IntN(3) != 0 {
			continue
		}
		if t := draw(chance, urn, p.TTL); !t.alone() {
			t.Together, t.Wait = true, time.Duration(chance.IntN(600))*time.Millisecond
			p.Steps = append(p.Steps, t)
		}
	}
	return p
}

// alone reports whether a step allows no other at the same time.
func (s Step) alone() bool { return kinds()[s.What].alone || s.On == onAll || s.On == onPair }

// urn holds the kinds of faults that this machine supports, each as often as its weight;
// ordered by name, so that a seed always draws the same.
func urn() (all []string) {
	kinds := kinds()
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if k := kinds[name]; k.needs == nil || k.needs() {
			all = append(all, slices.Repeat([]string{name}, k.weight)...)
		}
	}
	return all
}

// draw draws one step.
func draw(chance *rand.Rand, urn []string, ttl time.Duration) Step {
	s := Step{What: urn[chance.IntN(len(urn))]}
	k := kinds()[s.What]
	s.On = k.on[chance.IntN(len(k.on))]
	if k.lasts == nil {
		return s
	}
	least, most := k.lasts(ttl)
	s.For = least
	if most > least {
		s.For += time.Duration(chance.Int64N(int64(most - least))).Round(time.Millisecond)
	}
	return s
}
