package etcdstore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
)

// skewed is the clock of a machine that can be put to sleep: it jumps.
type skewed struct{ ahead atomic.Int64 }

func (c *skewed) now() time.Duration { return etcdstore.BootTime() + time.Duration(c.ahead.Load()) }

func (c *skewed) sleep(d time.Duration) { c.ahead.Add(int64(d)) }

// Promise: a process that slept through its deadline notices before it acts. The
// lease itself is well: only the clock knows that it may not be.
func TestLease_SleptThroughItsDeadline(t *testing.T) {
	l := newLab(t)
	clock := &skewed{}
	l.as = func(cfg *etcdstore.Config) { cfg.Clock = clock.now }
	m := l.join("a")
	term := l.elect(m)
	if _, err := l.commit(term, "before", 0, put("entity/x", "1")); err != nil {
		t.Fatal(err)
	}
	clock.sleep(6 * time.Second)
	if left := m.Remaining(); left > 0 {
		t.Errorf("remaining = %s after a sleep of a TTL", left)
	}
	if _, err := l.commit(term, "after", 0, put("entity/y", "1")); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("commit = %v, want it refused before it is sent", err)
	}
	if got := l.payload("entity/y"); got != "" {
		t.Errorf("the store has %q", got)
	}
	select {
	case <-m.Lost():
	case <-l.ctx().Done():
		t.Fatal("presence is not lost")
	}
	select {
	case <-term.Context().Done():
	case <-l.ctx().Done():
		t.Fatal("term is not over")
	}
	if !errors.Is(m.Cause(), driver.ErrLeaseLost) {
		t.Errorf("cause = %v", m.Cause())
	}
}

// Promise: the deadline counts from the sending of the last renewal, less the
// margin; once over, a late answer does not bring it back.
func TestLease_DeadlineCountsFromSending(t *testing.T) {
	l := newLab(t)
	clock := &skewed{}
	l.as = func(cfg *etcdstore.Config) { cfg.Clock = clock.now }
	before := clock.now()
	m := l.join("a")
	ttl := l.config().TTL
	if most := ttl - driver.Margin(ttl) - (clock.now() - before); m.Remaining() > most+10*time.Millisecond+(clock.now()-before) {
		t.Errorf("remaining = %s, want at most %s", m.Remaining(), most)
	}
	clock.sleep(ttl)
	<-m.Lost()
	clock.sleep(-2 * ttl) // as if a renewal had come late and reached far
	if left := m.Remaining(); left > 0 {
		t.Errorf("remaining = %s after the end", left)
	}
	if err := m.Publish(l.ctx(), recordOf("a")); !errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("publish = %v, want ErrLeaseLost", err)
	}
}

// Promise: an answer that comes late proves the lease for no longer than one that
// comes at once.
func TestLease_LateAnswerProvesNoMoreThanItsSending(t *testing.T) {
	l := newLab(t)
	clock := &skewed{}
	type look struct{ at, left time.Duration }
	var held driver.Presence
	joined, looks := make(chan struct{}), make(chan look, 100)
	l.as = func(cfg *etcdstore.Config) {
		cfg.Clock = clock.now
		cfg.OnRenewal = func(_ time.Duration, err error) {
			<-joined
			if err != nil {
				t.Errorf("renewal: %v", err)
			}
			looks <- look{clock.now(), held.Remaining()}
			clock.sleep(2 * time.Second) // the answer is on its way for so long
		}
	}
	held = l.join("a")
	close(joined)
	sent, later := <-looks, <-looks
	ttl := l.config().TTL
	if most := sent.at + ttl - driver.Margin(ttl) - later.at; later.left > most {
		t.Errorf("%s are left, want at most %s", later.left, most)
	}
}

// Promise: the wall clock has no part in how long a lease is relied on.
func TestLease_IsJudgedByTheTimeSinceBoot(t *testing.T) {
	l := newLab(t)
	if ahead := etcdstore.Clock(l.node("a")) - etcdstore.BootTime(); ahead.Abs() > time.Second {
		t.Errorf("the clock is %s ahead of the time since boot", ahead)
	}
}

// Promise: leases are renewed while their holders live, for as long as they live.
func TestLease_IsRenewed(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.TTL = etcdstore.MinTTL
	s := l.open(cfg)
	l.stores["a"] = s
	m := l.join("a")
	written := l.get(l.key("nodes/a")).Kvs[0].ModRevision
	deadline := time.After(3 * cfg.TTL)
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-tick.C:
			if m.Remaining() <= 0 {
				t.Fatal("lease ran out")
			}
			continue
		case <-m.Lost():
			t.Fatalf("lost: %v", m.Cause())
		case <-deadline:
			tick.Stop()
		}
		break
	}
	if now := l.get(l.key("nodes/a")).Kvs[0].ModRevision; now != written {
		t.Errorf("record written at %d again: renewals write", now)
	}
}

func TestMargin(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		2 * time.Second:  500 * time.Millisecond,
		5 * time.Second:  500 * time.Millisecond,
		6 * time.Second:  600 * time.Millisecond,
		60 * time.Second: 6 * time.Second,
	} {
		if got := driver.Margin(ttl); got != want {
			t.Errorf("Margin(%s) = %s, want %s", ttl, got, want)
		}
	}
}

// Promise: a restart that knows its old process is dead ends that one's lease at
// once, whatever the TTL.
func TestJoin_EndsTheLastLease(t *testing.T) {
	l := newLab(t)
	var noted int64
	cfg := l.config()
	cfg.TTL = time.Hour
	cfg.OnLease = func(lease int64) { noted = lease }
	first := l.open(cfg)
	l.stores["a"] = first
	old := l.elect(l.join("a"))
	l.must(first.Close()) // the process dies: nothing is revoked
	if len(l.get(l.key("nodes/a")).Kvs) != 1 {
		t.Fatal("the record is gone already")
	}
	cfg.LastLease = noted
	l.stores["a"] = l.open(cfg)
	began := time.Now()
	term := l.elect(l.join("a"))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("led again after %s", took)
	}
	if term.Number() <= old.Number() {
		t.Errorf("term %d follows %d", term.Number(), old.Number())
	}
}

// Promise: what is noted as the last lease may be a living process's, where the note was
// copied: then nothing is changed, and its holder is named. That goes for a node and for
// one that has the plane to itself.
func TestJoin_LeavesALivingProcessItsLease(t *testing.T) {
	l := newLab(t)
	var noted int64
	cfg := l.config()
	cfg.OnLease = func(lease int64) { noted = lease }
	l.stores["a"] = l.open(cfg)
	term := l.elect(l.join("a"))
	asked, alive := driver.Record{}, true
	cfg.LastLease = noted
	cfg.StillAlive = func(_ context.Context, r driver.Record) bool { asked = r; return alive }
	clone := l.open(cfg)
	l.stores["clone"] = clone
	before := l.get(l.key("term")).Header.Revision
	_, err := clone.Join(l.ctx(), recordOf("a"))
	var taken *driver.TakenError
	if !errors.As(err, &taken) || taken.Holder != recordOf("a") || asked != recordOf("a") {
		t.Fatalf("join = %v, asked about %+v", err, asked)
	}
	if _, _, err := clone.JoinExclusive(l.ctx(), recordOf("a"), ""); !errors.As(err, &taken) {
		t.Errorf("joining exclusively = %v", err)
	}
	if now := l.get(l.key("term")).Header.Revision; now != before || term.Context().Err() != nil {
		t.Errorf("revision went from %d to %d, the term is over: %v", before, now, term.Context().Err())
	}
	alive = false
	if _, err := clone.Join(l.ctx(), recordOf("a")); err != nil {
		t.Errorf("join once it is dead = %v", err)
	}
}

// The guard of a disabled node is no different.
func TestJoinExclusive_LeavesALivingProcessItsGuard(t *testing.T) {
	l := newLab(t)
	var noted int64
	cfg := l.config()
	cfg.OnLease = func(lease int64) { noted = lease }
	l.stores["a"] = l.open(cfg)
	if _, _, err := l.node("a").JoinExclusive(l.ctx(), recordOf("a"), ""); err != nil {
		t.Fatal(err)
	}
	cfg.LastLease = noted
	cfg.StillAlive = func(_ context.Context, r driver.Record) bool { return r.ID == "a" && r.URI == recordOf("a").URI }
	clone := l.open(cfg)
	l.stores["clone"] = clone
	var taken *driver.TakenError
	if _, _, err := clone.JoinExclusive(l.ctx(), recordOf("a"), ""); !errors.As(err, &taken) {
		t.Errorf("joining exclusively = %v, want it to be taken", err)
	}
	if _, err := clone.Join(l.ctx(), recordOf("a")); !errors.As(err, &taken) {
		t.Errorf("join = %v, want it to be taken", err)
	}
	if len(l.get(l.key("guard")).Kvs) != 1 {
		t.Error("the guard is gone")
	}
}
