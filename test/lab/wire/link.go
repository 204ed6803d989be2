package wire

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// capacity is how many packets may be on their way over a link.
const capacity = 4096

// Rule is what a link does to packets. The zero Rule lets all of them through.
type Rule struct {
	Drop        bool // no packet arrives
	Reject      bool // no packet arrives, and a TCP sender gets a reset
	Unreachable bool // no packet arrives, and the sender is told that the destination is unreachable

	Loss      float64       // probability that a packet is lost
	Duplicate float64       // probability that it arrives twice
	Reorder   float64       // probability that it overtakes all waiting packets
	Delay     time.Duration // the time it takes,
	Jitter    time.Duration // plus or minus

	Port uint16 // if set, the rule applies only to TCP from or to that port
}

// Counts is what a link has done to packets so far.
type Counts struct {
	Carried    int // brought to the other end
	Dropped    int // by Drop or Loss
	Rejected   int // by Reject or Unreachable
	Opening    int // attempts to connect among those rejected
	Duplicated int
	Reordered  int
	Delayed    int
	Overflowed int // lost at a full queue
}

// Plus adds up counts.
func (c Counts) Plus(d Counts) Counts {
	return Counts{
		c.Carried + d.Carried, c.Dropped + d.Dropped, c.Rejected + d.Rejected, c.Opening + d.Opening,
		c.Duplicated + d.Duplicated, c.Reordered + d.Reordered, c.Delayed + d.Delayed, c.Overflowed + d.Overflowed,
	}
}

// Link carries packets from one host to another.
type Link struct {
	from, to *Host
	queue    chan waiting

	mu     sync.Mutex // guards the fields below
	rule   Rule
	chance *rand.Rand
	counts Counts
}

// waiting is a packet on its way.
type waiting struct {
	packet packet
	due    time.Time
}

func newLink(seed uint64, from, to *Host) *Link {
	name := fnv.New64a()
	_, _ = name.Write([]byte(from.Name + ">" + to.Name)) // never fails
	return &Link{
		from: from, to: to,
		queue:  make(chan waiting, capacity),
		chance: rand.New(rand.NewPCG(seed, name.Sum64())),
	}
}

// Set replaces the rule, for packets sent from now on.
func (l *Link) Set(r Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rule = r
}

// Counts returns what the link has done.
func (l *Link) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// take applies the rule to p.
func (l *Link) take(p packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rule
	if r.Port != 0 && !p.port(r.Port) {
		l.counts.Carried++
		l.to.receive(p)
		return
	}
	switch {
	case r.Drop || l.chance.Float64() < r.Loss:
		l.counts.Dropped++
	case r.Reject, r.Unreachable:
		l.reject(p)
	case l.chance.Float64() < r.Reorder:
		l.counts.Reordered++
		l.counts.Carried++
		l.to.receive(p)
	default:
		l.enqueue(p)
		if l.chance.Float64() < r.Duplicate {
			l.counts.Duplicated++
			l.enqueue(p)
		}
	}
}

// reject answers p as a firewall would.
func (l *Link) reject(p packet) {
	l.counts.Rejected++
	if p.opening() {
		l.counts.Opening++
	}
	if l.rule.Unreachable {
		l.from.receive(p.unreachable())
	} else if answer, ok := p.reset(); ok {
		l.from.receive(answer)
	}
}

func (l *Link) enqueue(p packet) {
	delay := l.rule.Delay
	if l.rule.Jitter > 0 {
		delay += time.Duration(l.chance.Int64N(2*int64(l.rule.Jitter))) - l.rule.Jitter
	}
	select {
	case l.queue <- waiting{packet: p, due: time.Now().Add(delay)}:
		if delay > 0 {
			l.counts.Delayed++
		}
		l.counts.Carried++
	default:
		l.counts.Overflowed++
	}
}

// deliver brings due packets to the other end, until stop is closed.
func (l *Link) deliver(stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var w waiting
		select {
		case w = <-l.queue:
		case <-stop:
			return
		}
		if wait := time.Until(w.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-stop:
				return
			}
		}
		l.to.receive(w.packet)
	}
}
