package bubble_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/rebind"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

const (
	writers = 3
	readers = 2
	common  = 6 // mementos that all writers write
	private = 3 // mementos written by one writer only
)

// caller is one client: it does one thing after the other.
type caller struct {
	lab  *lab
	name string
	rand *rand.Rand
	made int // payloads so far
}

func (l *lab) caller(name string) *caller {
	return &caller{lab: l, name: name, rand: l.random(name)}
}

// rest waits a short time.
func (c *caller) rest(ctx context.Context) bool {
	return wait(ctx, millis(c.rand, 10, 400)) == nil
}

// ask chooses the process to ask: mostly the master, sometimes any.
func (c *caller) ask() *process {
	if p := c.lab.master(); p != nil && c.rand.IntN(10) > 0 {
		return p
	}
	return c.lab.seats[c.rand.IntN(len(c.lab.seats))].present()
}

// write writes until ctx ends.
func (c *caller) write(ctx context.Context) {
	for c.rest(ctx) {
		if p := c.ask(); p.up() != nil {
			d, again := c.delta(p)
			c.commit(ctx, p, d, again)
		}
	}
}

// delta creates a delta and says whether it may be sent again: it then contains a memento
// of the writer's own, which shows whether it was applied.
func (c *caller) delta(p *process) (rebind.Delta, bool) {
	names := make([]rebind.Name, 0, common+private)
	for i := range common {
		names = append(names, rebind.Name(fmt.Sprintf("common/%d", i)))
	}
	own := c.rand.IntN(2) == 0
	for i := range private {
		names = append(names, rebind.Name(fmt.Sprintf("%s/%d", c.name, i)))
	}
	c.rand.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	some := 1
	if c.rand.IntN(3) == 0 {
		some = 2 + c.rand.IntN(4)
	}
	var d rebind.Delta
	for _, name := range names[:some] {
		d.Ops = append(d.Ops, rebind.Op{Name: name})
	}
	if own {
		d.ID = fmt.Sprintf("%s-%d", c.name, c.made)
		d.Ops[0].Name = rebind.Name(fmt.Sprintf("%s/again", c.name))
	}
	for i := range d.Ops {
		if own && i == 0 || c.rand.IntN(4) > 0 {
			d.Ops[i].Put = &rebind.Content{Payload: c.payload()}
		}
		if !own && c.rand.IntN(4) == 0 {
			d.Ops[i].Expect = rebind.Revision(modified(p.node, d.Ops[i].Name))
		}
	}
	return d, own
}

// payload returns a unique payload.
func (c *caller) payload() []byte {
	c.made++
	return fmt.Appendf(nil, "%s:%d", c.name, c.made)
}

// modified is the revision at which a node has last seen a memento change; 0 if it does not
// exist.
func modified(n *coordinator.Node, name rebind.Name) rebind.Revision {
	r, err := n.Read()
	if err != nil {
		return 0
	}
	m, err := r.View.Get(name)
	if err != nil {
		return 0
	}
	return m.Modified
}

// commit sends a delta and records the outcome. If the outcome is unknown and the delta may
// be repeated, it is sent again to the master of that time.
func (c *caller) commit(ctx context.Context, p *process, d rebind.Delta, again bool) {
	op := evidence.Op{Client: c.name, Node: p.seat.ID, Changes: changes(&d), Sent: c.lab.record.now()}
	for try := 0; ; try++ {
		receipt, err := p.commit(ctx, millis(c.rand, 200, 5000), d)
		op.Node, op.Answered = p.seat.ID, c.lab.record.now()
		op.Outcome, op.Revision, op.Why = outcome(receipt, err, op.Outcome)
		if op.Outcome != evidence.Unknown || !again || try == 5 || !c.rest(ctx) {
			break
		}
		for p = c.ask(); p.up() == nil; p = c.ask() {
			if !c.rest(ctx) {
				c.lab.record.did(op)
				return
			}
		}
	}
	c.lab.record.did(op)
}

// outcome is what a client knows after an answer, given what it knew before. A refusal of a
// later attempt says nothing about earlier ones.
func outcome(r rebind.Receipt, err error, before evidence.Outcome) (evidence.Outcome, int64, string) {
	switch {
	case err == nil:
		return evidence.OK, int64(r.Revision), ""
	case before == evidence.Unknown, errors.Is(err, rebind.ErrUnknown), errors.Is(err, errDied):
		return evidence.Unknown, 0, err.Error()
	default:
		return evidence.Refused, 0, err.Error()
	}
}

func changes(d *rebind.Delta) []evidence.Change {
	var all []evidence.Change
	for i := range d.Ops {
		op := &d.Ops[i]
		c := evidence.Change{Name: string(op.Name), Delete: op.Put == nil}
		if op.Put != nil {
			c.Payload = string(op.Put.Payload)
		}
		switch op.Expect {
		case 0:
		case rebind.Absent:
			c.If = new(int64)
		default:
			at := int64(op.Expect)
			c.If = &at
		}
		all = append(all, c)
	}
	return all
}

// errDied is the answer of a process that was killed.
var errDied = errors.New("the process was killed")

// commit has the process commit a delta; a process that was killed never answers.
func (p *process) commit(ctx context.Context, limit time.Duration, d rebind.Delta) (rebind.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	var receipt rebind.Receipt
	err := errDied
	answered := make(chan struct{})
	p.seat.lab.group.Go(func() {
		defer cancel()
		r, e := p.node.Commit(ctx, d)
		select {
		case <-p.dead:
		default:
			receipt, err = r, e
			close(answered)
		}
	})
	select {
	case <-answered:
		return receipt, err
	case <-p.dead:
		return rebind.Receipt{}, errDied
	}
}

// read reads until ctx ends.
func (c *caller) read(ctx context.Context) {
	for c.rest(ctx) {
		p := c.lab.seats[c.rand.IntN(len(c.lab.seats))].present()
		node := p.up()
		if node == nil {
			continue
		}
		name := rebind.Name(fmt.Sprintf("common/%d", c.rand.IntN(common)))
		read := evidence.Read{Name: string(name), Latest: c.rand.IntN(2) == 0}
		op := evidence.Op{Client: c.name + " of " + p.name, Node: p.seat.ID, Read: &read, Sent: c.lab.record.now()}
		if read.Latest {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := node.Confirm(ctx)
			cancel()
			if err != nil || p.killed() {
				continue // nothing was read
			}
		}
		r, err := node.Read()
		if err != nil {
			continue
		}
		if m, err := r.View.Get(name); err == nil {
			read.Found, read.Payload, read.Modified = true, string(m.Payload), int64(m.Modified)
		}
		op.Answered, op.Outcome, op.Revision = c.lab.record.now(), evidence.OK, int64(r.View.Revision())
		c.lab.record.did(op)
	}
}

// copy records what the nodes' mirrors contain, until ctx ends.
func (l *lab) copy(ctx context.Context) {
	for wait(ctx, time.Second) == nil {
		l.copies()
	}
}

func (l *lab) copies() {
	for _, s := range l.seats {
		p := s.present()
		node := p.up()
		if node == nil {
			continue
		}
		if r, err := node.Read(); err == nil {
			l.record.copied(p, r.View)
		}
	}
}

// greet is the first write of a program in its term.
func (l *lab) greet(p *process, ctx context.Context, leading *coordinator.Leader) {
	payload := fmt.Sprintf("%s:%d:%d", p.name, leading.Term(), l.count())
	d := rebind.Delta{Ops: []rebind.Op{{Name: rebind.Name("greeting/" + p.seat.ID), Put: &rebind.Content{Payload: []byte(payload)}}}}
	op := evidence.Op{Client: "program of " + p.name, Node: p.seat.ID, Changes: changes(&d), Sent: l.record.now()}
	receipt, err := leading.Commit(ctx, d)
	if p.killed() {
		err = errDied
	}
	op.Answered = l.record.now()
	op.Outcome, op.Revision, op.Why = outcome(receipt, err, "")
	l.record.did(op)
}
