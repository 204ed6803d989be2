package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file keeps leases alive and decides how long they can be relied on.

// errDeadline is the cause of a lease's end by the local clock.
var errDeadline = fmt.Errorf("%w: not renewed in time", driver.ErrLeaseLost)

// lease is one lease. etcd's own keep-alive counts the TTL from when an answer arrived, and
// checks once a second; this one counts from before the request was sent, and checks at every
// use.
//
// The rule: an answer to a renewal sent at s that grants t proves the lease until s + t by the
// server's clock, whatever happens on the way. The holder stops relying on it at
// s + t - [driver.Margin].
type lease struct {
	store          *Store
	id             clientv3.LeaseID
	until          atomic.Int64 // by the store's clock; nanoseconds
	heartbeatUntil atomic.Int64 // until when the node has sent a heartbeat, likewise; 0: never yet
	ctx            context.Context
	end            context.CancelCauseFunc

	exists context.Context // ends when etcd is known to have the lease no more
	gone   context.CancelFunc
}

// grant obtains a lease and keeps it alive until end is called or it is lost.
func (s *Store) grant(ctx context.Context) (*lease, error) {
	asked, sent := s.incarnations.ask(), s.cfg.Clock()
	resp, err := s.client.Grant(ctx, int64(s.cfg.TTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("obtain a lease: %w", s.access.meaning(err))
	}
	if err := s.incarnations.answered(asked, resp.ResponseHeader); err != nil {
		return nil, err // and the lease is left to lapse
	}
	l := &lease{store: s, id: resp.ID}
	s.noteTTL(resp.TTL)
	l.ctx, l.end = context.WithCancelCause(s.ctx)
	l.exists, l.gone = context.WithCancel(s.waits)
	l.renewed(sent, resp.TTL)
	life := asked.incarnation.ctx
	stop := context.AfterFunc(life, func() { l.end(fmt.Errorf("%w: %w", driver.ErrLeaseLost, context.Cause(life))) })
	s.group.Go(func() {
		defer stop()
		l.keep()
	})
	s.group.Go(l.watchDeadline)
	s.group.Go(l.watchSilence)
	return l, nil
}

// noteTTL notes the TTL that etcd grants, and logs if it is not the one asked for: etcd grants
// no less than one and a half of its own election timeouts.
func (s *Store) noteTTL(seconds int64) {
	granted := time.Duration(seconds) * time.Second
	if before := s.granted.Swap(int64(granted)); granted != s.cfg.TTL && before != int64(granted) {
		s.log.Warn("etcd grants another lease TTL than it was asked for", zap.Duration("granted", granted), zap.Duration("asked", s.cfg.TTL))
	}
}

// renewed takes an answer that grants ttl seconds to a request sent at sent.
func (l *lease) renewed(sent time.Duration, ttl int64) {
	granted := time.Duration(ttl) * time.Second
	proven := sent + granted - driver.Margin(granted)
	l.until.Store(max(l.until.Load(), int64(proven))) // a later one may have been answered first
	l.store.log.Debug("lease renewed", zap.Int64("lease", int64(l.id)), zap.Duration("sent_ago", l.store.cfg.Clock()-sent))
}

// Remaining returns how long the lease can still be relied on. Once negative it stays so.
func (l *lease) Remaining() time.Duration {
	left := time.Duration(l.until.Load()) - l.store.cfg.Clock()
	if well := l.heartbeatUntil.Load(); well != 0 {
		left = min(left, time.Duration(well)-l.store.cfg.Clock())
	}
	if l.ctx.Err() != nil {
		return min(left, 0)
	}
	return left
}

// Heartbeat keeps the lease for [driver.StallLimit] from now on.
func (l *lease) Heartbeat() {
	l.heartbeatUntil.Store(int64(l.store.cfg.Clock() + driver.StallLimit(l.store.cfg.TTL)))
}

// live reports whether the lease can be relied on now, and ends it if not: a process that slept
// past its deadline finds out here, before it acts.
func (l *lease) live() bool {
	if l.ctx.Err() == nil && l.Remaining() <= 0 {
		cause := errDeadline
		if well := l.heartbeatUntil.Load(); well != 0 && well < l.until.Load() {
			cause = driver.ErrHung
		}
		l.end(cause)
	}
	return l.ctx.Err() == nil
}

// keep renews six times per TTL, counted from sending, and more often after a failure. It does
// not wait for an answer before it asks again: where packets are lost, one connection may stall
// for seconds while others work, and a late answer still proves something. Each attempt is a
// stream of its own, so that the next one goes to another member of etcd.
func (l *lease) keep() {
	period := l.store.TTL() / 6
	soon := max(period/6, 50*time.Millisecond)
	answers := make(chan renewal)
	due := time.NewTimer(period)
	defer due.Stop()
	for l.live() {
		select {
		case <-due.C:
			l.store.group.Go(func() { l.renew(answers) })
			due.Reset(period)
		case a := <-answers:
			l.store.cfg.OnRenewal(l.store.cfg.Clock()-a.sent, a.err)
			switch {
			case errors.Is(a.err, rpctypes.ErrLeaseNotFound):
				l.end(fmt.Errorf("%w: etcd no longer has it", driver.ErrLeaseLost))
			case errors.Is(a.err, driver.ErrRestored):
				l.end(fmt.Errorf("%w: %w", driver.ErrLeaseLost, a.err))
			case a.err == nil:
				l.renewed(a.sent, a.ttl)
			default:
				l.store.log.Debug("lease not renewed, retrying", zap.Duration("remaining", l.Remaining()), zap.Error(a.err))
				due.Reset(soon)
			}
		case <-l.ctx.Done():
		}
	}
}

// renewal is the answer to one attempt to renew.
type renewal struct {
	sent time.Duration
	ttl  int64 // granted
	err  error
}

// renew sends one attempt and passes its answer on, unless the lease has ended.
func (l *lease) renew(answers chan<- renewal) {
	ctx, cancel := context.WithTimeout(l.ctx, l.store.TTL()/2) // time for others, and to be told of before the lease ends
	defer cancel()
	asked, a := l.store.incarnations.ask(), renewal{sent: l.store.cfg.Clock()}
	resp, err := l.store.renewals.KeepAliveOnce(ctx, l.id)
	a.err = err
	if err == nil {
		a.ttl = resp.TTL
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && asked.suspect(resp.ResponseHeader) {
		look, done := context.WithTimeout(ctx, callTimeout)
		_, restored := l.store.Head(look)
		done()
		if errors.Is(restored, driver.ErrRestored) {
			a.err = restored
		}
	}
	select {
	case answers <- a:
	case <-l.ctx.Done():
	}
}

// watchDeadline ends the lease at its deadline even while keep is blocked in a call.
func (l *lease) watchDeadline() {
	for l.live() {
		if retry.Wait(l.ctx, max(l.Remaining(), time.Millisecond)) != nil {
			return
		}
	}
}

// askEvery is the time between two questions of [lease.watchSilence]. It is less than what
// [driver.StallLimit] adds to the TTL, so that a process which slept for less than that does
// not seem to hear nothing.
const askEvery = 2 * time.Second

// watchSilence ends the lease if etcd has answered nothing but renewals for
// [driver.StallLimit]. Renewals have connections of their own, and a node that can do nothing
// else in the plane must not stand in the way of those that can. Each question goes to another
// member of etcd, whether or not the one before has been answered.
func (l *lease) watchSilence() {
	limit := driver.StallLimit(l.store.cfg.TTL)
	answers := make(chan error)
	tick, silence := time.NewTicker(askEvery), time.NewTimer(limit)
	defer tick.Stop()
	defer silence.Stop()
	for l.ctx.Err() == nil {
		select {
		case <-tick.C:
			l.store.group.Go(func() { l.ask(limit, answers) })
		case err := <-answers:
			if !errors.Is(err, rebind.ErrUnavailable) || errors.Is(err, driver.ErrDenied) {
				silence.Reset(limit)
			}
		case <-silence.C:
			l.end(fmt.Errorf("%w: %w: etcd renews the lease and has answered nothing else for %s", driver.ErrLeaseLost, driver.ErrStuck, limit))
		case <-l.ctx.Done():
		}
	}
}

// ask asks etcd something and passes on how that went, unless the lease has ended.
func (l *lease) ask(limit time.Duration, answers chan<- error) {
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	defer cancel()
	_, err := l.store.Head(ctx)
	select {
	case answers <- err:
	case <-l.ctx.Done():
	}
}

// revoke deletes the lease and all that hangs on it.
func (l *lease) revoke(ctx context.Context) error {
	err := l.store.revoke(ctx, l.id)
	if err == nil {
		l.gone()
	}
	return err
}

// revoke deletes a lease and all that hangs on it. It succeeds when the lease is
// known to be gone.
func (s *Store) revoke(ctx context.Context, id clientv3.LeaseID) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if _, err := s.client.Revoke(ctx, id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke lease %x: %w", int64(id), translate(err))
	}
	return nil
}
