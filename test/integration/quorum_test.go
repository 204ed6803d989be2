package integration_test

import (
	"net/http"
	"testing"
	"time"
)

// during runs a trouble of an etcd cluster under a plane that is written to, and
// wants the plane in order when it is over, in the same term if that is to last.
func (e *ensemble) during(lasting bool, trouble func(w *writers)) {
	e.t.Helper()
	e.begin()
	w := startWriters(e.t, 4, e.all()...)
	w.more(e.t, 40)
	master, before := e.led()
	calm := e.calm()
	trouble(w)
	w.more(e.t, 40)
	if now, after := e.led(); lasting && (now != master || after != before) {
		e.t.Errorf("%s leads term %d, want %s in term %d as before", now.name, after, master.name, before)
	}
	told := w.stop()
	calm()
	e.live()
	e.judge(told...)
}

// Promise: one etcd member of three that hangs costs no master its term and no
// node its lease, and reads and writes go on.
func TestQuorum_OneMemberHangs(t *testing.T) {
	// When a leader of etcd wakes that was replaced meanwhile, etcd may revoke leases
	// which its new leader has renewed. That ends a term, in due form.
	for name, f := range map[string]struct {
		which   func(*ensemble) *member
		lasting bool
	}{
		"a follower": {(*ensemble).follower, true}, "the leader": {(*ensemble).leader, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnsemble(t, 6*time.Second)
			e.during(f.lasting, func(w *writers) {
				m := f.which(e)
				v, err := e.nodes["a"].plane()
				if err != nil {
					t.Fatal(err)
				}
				began, written := time.Now(), w.count()
				m.hang()
				stalest := e.stalest(10 * time.Second) // longer than a lease lasts
				t.Logf("%d writes in %s while %s hung, no copy staler than %s",
					w.count()-written, time.Since(began).Round(time.Second), m.name, stalest)
				if w.count()-written < 200 {
					t.Error("writes meet the member that hangs for as long as it does")
				}
				if stalest > 7*time.Second {
					t.Errorf("a copy was %s behind: its watch stayed with the member that hung", stalest)
				}
				if now, err := e.nodes["a"].plane(); err != nil || now.Term != v.Term {
					t.Errorf("plane = %+v, %v, was in term %d before a member hung", now, err, v.Term)
				}
				if err := e.nodes["a"].role("writable", http.StatusOK); err != nil {
					t.Error(err)
				}
				m.resume()
			})
		})
	}
}

// stalest looks on for a while, and returns how stale the stalest copy has been.
func (e *ensemble) stalest(d time.Duration) (most time.Duration) {
	e.t.Helper()
	end := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return most
		case <-tick.C:
			for _, p := range e.nodes {
				var n struct {
					Mirror struct {
						Staleness int64 `json:"staleness_ms"`
					}
				}
				if err := p.get("/v1/node", &n); err != nil {
					e.t.Fatal(err)
				}
				most = max(most, time.Duration(n.Mirror.Staleness)*time.Millisecond)
			}
		}
	}
}

// Promise: a change of etcd's own leader does not cost a master its term.
func TestQuorum_EtcdChangesItsLeader(t *testing.T) {
	for name, change := range map[string]func(*ensemble){
		"moved": (*ensemble).move,
		"killed": func(e *ensemble) {
			m := e.leader()
			m.kill()
			m.stopped = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnsemble(t, 6*time.Second)
			e.during(true, func(w *writers) {
				began := time.Now()
				change(e)
				w.more(t, 40)
				t.Logf("40 more writes after %s", time.Since(began).Round(time.Millisecond))
				<-time.After(4 * time.Second)
			})
		})
	}
}

// Promise: a loss of quorum shorter than the TTL changes nothing. In a longer one
// every node demotes itself by its own clock, nobody acts and all stay live; when
// the quorum is back, or the whole cluster with its data, so is the plane, with
// every acknowledged write.
func TestQuorum_IsLost(t *testing.T) {
	const ttl = 6 * time.Second
	t.Run("for less than the TTL", func(t *testing.T) {
		t.Parallel()
		e := newEnsemble(t, ttl)
		e.during(true, func(*writers) {
			e.members[0].hang()
			e.members[1].hang()
			<-time.After(2 * time.Second)
			e.members[0].resume()
			e.members[1].resume()
		})
	})
	t.Run("for longer", func(t *testing.T) {
		t.Parallel()
		newEnsemble(t, ttl).without(
			func(e *ensemble) { e.members[0].hang(); e.members[1].hang() },
			func(e *ensemble) { e.members[0].resume(); e.members[1].resume() },
		)
	})
	t.Run("with all that was running", func(t *testing.T) {
		t.Parallel()
		newEnsemble(t, ttl).without(
			func(e *ensemble) {
				for _, m := range e.members {
					m.kill()
				}
			},
			func(e *ensemble) {
				for _, m := range e.members {
					e.start(m)
				}
			},
		)
	})
}

// without takes the store away from a plane that is written to, for longer than
// the TTL, and wants the plane back when the store is.
func (e *ensemble) without(begin, end func(*ensemble)) {
	e.t.Helper()
	e.begin()
	w := startWriters(e.t, 4, e.all()...)
	w.more(e.t, 40)
	_, before := e.led()
	calm := e.calm()
	lost := time.Now()
	begin(e)
	for _, p := range e.nodes {
		eventually(e.t, maxWait, func() error { return p.role("writable", http.StatusServiceUnavailable) })
	}
	took := time.Since(lost)
	e.t.Logf("nobody acts %s after the store was lost", took.Round(time.Millisecond))
	if took > e.ttl+slack {
		e.t.Errorf("a master acts %s after its store was lost, the TTL is %s", took, e.ttl)
	}
	e.idle(3 * time.Second)
	end(e)
	back := time.Now()
	w.more(e.t, 40)
	_, after := e.led()
	e.t.Logf("term %d → %d, in order %s after the store came back", before, after, time.Since(back).Round(time.Millisecond))
	told := w.stop()
	calm()
	found := e.judge(told...)
	for name, payload := range found.Latest {
		for _, p := range e.nodes {
			eventually(e.t, maxWait, func() error { return p.reads(name, payload) })
		}
	}
}

// idle looks on for a while, and wants nobody to act, every node to be live, and
// none to be busy.
func (c *cluster) idle(d time.Duration) {
	c.t.Helper()
	before := make(map[string]time.Duration)
	for id, p := range c.nodes {
		before[id] = p.worked()
	}
	end := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			c.live()
			for id, p := range c.nodes {
				if worked := p.worked() - before[id]; worked > d/2 {
					c.t.Errorf("%s worked for %s of %s although it can do nothing", id, worked, d)
				}
			}
			return
		case <-tick.C:
			for _, p := range c.nodes {
				if err := p.role("writable", http.StatusServiceUnavailable); err != nil {
					c.t.Error(err)
				}
			}
		}
	}
}
