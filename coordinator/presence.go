package coordinator

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file holds the node's presence in its plane: the lease, the record that hangs on
// it, and what the store is known to hold of that. Only the loop touches it.

// presence is this node in its plane. Its zero value is a node that is not there.
type presence struct {
	lease     driver.Presence // nil while the node is not in the plane
	former    driver.Presence // lost, and not yet seen to be gone from the store
	exclusive bool            // it is a disabled node's, which has the plane to itself

	published    driver.Record // what the store is known to hold; zero if that is not known
	shown        driver.Record // what the plane has shown of this node as it was published
	differsSince time.Time     // since when the plane shows something else; zero while it does not
	changed      bool          // there is a newer picture of the plane to compare with
}

// joined begins a presence on a new lease, which holds the record r.
func (p *presence) joined(lease driver.Presence, r driver.Record) {
	p.lease, p.shown = lease, driver.Record{}
	p.stored(r)
}

// live reports whether the node has a lease that is not lost.
func (p *presence) live() bool {
	if p.lease == nil {
		return false
	}
	select {
	case <-p.lease.Lost():
		return false
	default:
		return true
	}
}

// lost returns a channel that is closed when the lease is lost; nil without a lease.
func (p *presence) lost() <-chan struct{} {
	if p.lease == nil {
		return nil
	}
	return p.lease.Lost()
}

// heartbeat tells the lease that the loop runs. It returns at once.
func (p *presence) heartbeat() {
	if p.lease != nil {
		p.lease.Heartbeat()
	}
}

// stored notes what the store holds now. A picture may be late to show it.
func (p *presence) stored(r driver.Record) { p.published, p.differsSince = r, time.Time{} }

// unknown notes that nobody knows what the store holds, so that it is published again.
func (p *presence) unknown() { p.published, p.differsSince = driver.Record{}, time.Time{} }

// compare looks whether the plane shows the node's record as it was published. It
// reports true, and has the record published again, if somebody else has deleted or
// changed it. there says whether the plane shows any.
func (p *presence) compare(m driver.Member, there bool) (foreign bool) {
	switch {
	case !p.live() || p.published == (driver.Record{}):
		p.differsSince = time.Time{}
	case there && m.Record == p.published && p.lease.Owns(m):
		p.shown, p.differsSince = p.published, time.Time{}
	case p.shown != p.published && p.differsSince.IsZero():
		p.differsSince = time.Now()
	case p.shown == p.published || time.Since(p.differsSince) > pollEvery:
		// A picture that has never shown it may only be late, but not for as long.
		p.unknown()
		return true
	}
	return false
}

// end has no lease any more; it may still be in the store.
func (p *presence) end() { p.lease, p.published = nil, driver.Record{} }

// lose ends the presence on a lease that is lost: leaveFormer has to see it gone.
func (p *presence) lose() {
	p.former = p.lease
	p.end()
}

// leaveFormer deletes what the lost lease has left in the store. It blocks for
// callTimeout at most.
func (p *presence) leaveFormer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := p.former.Leave(ctx, nil); err != nil {
		return err
	}
	p.former = nil
	return nil
}

// leave deletes the node's record and candidacy, keeps last of it if that is not nil,
// and leaves a lease that cannot be revoked to lapse. It blocks for callTimeout at most.
func (p *presence) leave(ctx context.Context, last *driver.Departed, log *zap.Logger) error {
	if p.lease == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := p.lease.Leave(ctx, last)
	if err != nil {
		log.Warn("lease not revoked, leaving it to lapse", zap.Error(err))
	}
	return err
}
