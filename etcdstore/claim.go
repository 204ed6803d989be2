package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// claim tries to begin a term. It returns neither term nor error if it is not yet
// this candidate's turn, errQueueAgain or [driver.ErrYield] if the candidate
// is to queue again, and [driver.ErrHold] if it is to look again when
// something has changed.
//
// It looks at the whole plane only where that could change something: all candidates
// have the same news, and what each of them looks at grows with their number.
func (m *membership) claim(ctx context.Context, c *contest) (*term, error) {
	seen := c.vacancy.seen.Load() // before the look, which then finds the key or its absence
	if g := seen.given; g != nil && g.holder.Term != m.lastLed {
		return m.begin(g), nil // by a handover
	}
	if seen.term > c.vacant {
		c.waitTurn() // somebody has taken it
	}
	turn, known := m.queue.ended(), seen.made > m.queue.after
	if !turn && !c.jump && !c.holding && (seen.present || !known) {
		return nil, nil
	}
	c.recorded = seen.recorded
	if turn && m.queue.err == nil && known {
		if err := m.requeue(c, seen); err != nil {
			return nil, err
		}
	}
	p, err := m.store.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("read plane: %w", err)
	}
	m.looked = p.revision
	key := m.candidateKey()
	created := p.candidates[key]
	if g := p.gift(key); g != nil && g.holder.Term != m.lastLed {
		return m.begin(g), nil // by a handover, or by an answer that was lost
	}
	m.queue.seen = m.queue.seen || created != 0 || known
	c.vacant, c.recorded = p.holder.Term, p.termMod
	if p.held() {
		c.waitTurn()
	}
	switch {
	case turn && m.queue.err != nil:
		m.noteDoubt(m.queue)
		err = m.queue.err
		m.leaveQueue() // the next wait takes up the key if it is there
		return nil, fmt.Errorf("wait in the election: %w", translate(err))
	case m.queue.vanished(created):
		return nil, errQueueAgain // somebody has deleted the key
	}
	if !turn && (!c.jump || created == 0 || p.held()) {
		return nil, nil
	}
	if !p.vacantFor(key, created) {
		return nil, errQueueAgain
	}
	switch err := c.bid.Consider(p.plane()); {
	case err == nil:
		return m.record(ctx, p, created, c.bid)
	case errors.Is(err, driver.ErrYield):
		c.waitTurn()
		if !turn {
			return nil, nil // its place in the queue is as good as it was
		}
		return nil, err
	case errors.Is(err, driver.ErrHold):
		return nil, err
	default:
		return nil, &calledOff{err}
	}
}

// requeue tells, of a candidate whose turn has come, whether it is to queue again
// without a look at the plane: the last term is younger than its key, or the bid says
// so.
func (m *membership) requeue(c *contest, seen *sight) error {
	switch {
	case seen.outlived:
		m.looked = seen.made
		return errQueueAgain
	case c.bid.Defers(seen.term):
		m.looked, c.vacant = seen.made, seen.term
		return driver.ErrYield
	default:
		return nil
	}
}

// record is the term transaction: it begins the term if everything that the
// decision was made on still holds. If its answer is lost, the next look tells
// what became of it.
func (m *membership) record(ctx context.Context, p *picture, created int64, bid *driver.Bid) (*term, error) {
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	if !m.live() {
		return nil, m.Cause()
	}
	planeID, after := bid.Recall()
	holder := driver.Holder{
		Term: max(created, p.lastTerm()+1, after+1), Key: m.candidateKey(), Node: m.node, Since: now(),
	}
	planeID, writes := p.found(planeID)
	writes = append(writes, clientv3.OpPut(m.store.keys.term(), encodeJSON(holder)))
	seen := p.asSeen(m, created, bid)
	if !bid.Ordered && p.pauseMod != 0 {
		writes = append(writes, clientv3.OpDelete(m.store.keys.pause())) // it is over
	}
	resp, err := m.store.client.Txn(ctx).If(seen...).Then(writes...).Commit()
	if err != nil {
		return nil, fmt.Errorf("begin term: %w", translate(err))
	}
	if !resp.Succeeded {
		return nil, errMoved
	}
	return m.begin(&gift{holder, resp.Header.Revision, created, planeID}), nil
}

// lastTerm returns the number of the last term, or what that cannot have exceeded
// where somebody has deleted or garbled its record: of a plane that was founded, it began
// before the picture was taken, and its number was no higher than that revision. Of a
// store whose revision was taken back only those know who saw more.
func (p *picture) lastTerm() int64 {
	if p.holder.Term == 0 && (p.metaMod != 0 || p.termMod != 0) {
		return p.revision
	}
	return p.holder.Term
}

// found returns the id of the plane and, where the picture shows none, the write that
// founds it: meta, with the given id or a random one.
func (p *picture) found(planeID string) (string, []clientv3.Op) {
	if p.metaMod != 0 {
		return p.meta.PlaneID, nil
	}
	if planeID == "" {
		planeID = rand.Text()
	}
	meta := metaValue{PlaneID: planeID, Format: driver.Format, Created: now()}
	return planeID, []clientv3.Op{clientv3.OpPut(p.keys.meta(), encodeJSON(meta))}
}
