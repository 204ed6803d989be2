package integration_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// slack is what a slow and noisy machine may add to a promised time.
const slack = 2 * time.Second

// Promise: when the master is lost a hot standby leads within the TTL and a
// second, with every acknowledged write; a frozen master that wakes later changes
// nothing; and at no revision do two nodes hold a term.
func TestFailover_NoAcknowledgedWriteIsLost(t *testing.T) {
	// Long enough that the time of two leases, less a renewal, is beyond what one
	// may take with all the slack: 7.3 s and 7 s.
	const ttl = 4 * time.Second
	cases := map[string]struct {
		fault func(c *cluster, master *process)
		limit time.Duration
		after func(c *cluster, master *process)
	}{
		"kill -9": {
			fault: func(_ *cluster, m *process) { m.signal(syscall.SIGKILL) },
			limit: ttl + time.Second,
			after: func(*cluster, *process) {},
		},
		"SIGSTOP past the TTL": {
			fault: func(_ *cluster, m *process) { m.signal(syscall.SIGSTOP) },
			limit: ttl + time.Second,
			after: func(_ *cluster, m *process) {
				m.signal(syscall.SIGCONT)
				m.await("HOT_STANDBY")
			},
		},
		"SIGTERM": {
			fault: func(_ *cluster, m *process) { m.signal(syscall.SIGTERM) },
			limit: time.Second,
			after: func(c *cluster, m *process) {
				if code := m.exit(maxWait); code != 0 {
					c.t.Errorf("clean stop exits with %d", code)
				}
			},
		},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, ttl)
			a := c.node("a", "auto")
			a.await("MASTER")
			b := c.node("b", "hot_standby")
			backup := c.node("c", "hot_backup")
			b.await("HOT_STANDBY")
			backup.await("HOT_BACKUP")
			w := startWriters(t, 4, a, b, backup)
			w.more(t, 40)
			began := time.Now()
			f.fault(c, a)
			b.await("MASTER")
			if took := time.Since(began); took > f.limit+slack {
				t.Errorf("b leads after %s, promised is %s", took, f.limit)
			} else {
				t.Logf("b leads %s after the fault (TTL %s)", took.Round(time.Millisecond), ttl)
			}
			w.more(t, 40)
			f.after(c, a)
			w.more(t, 20)
			told := w.stop()
			if err := backup.is("HOT_BACKUP"); err != nil {
				t.Error(err)
			}
			found := c.judge(told...)
			if len(found.Terms) != 2 || found.Terms[1].Node != "b" {
				t.Errorf("terms %+v, want one of a and one of b", found.Terms)
			}
			shown(t, found.Latest, b, backup)
		})
	}
}

// shown checks that the master shows at once what was last written, and the backup
// before long.
func shown(t *testing.T, latest map[string]string, master, backup *process) {
	t.Helper()
	if len(latest) == 0 {
		t.Error("nothing was written, so nothing is compared")
	}
	for name, payload := range latest {
		if err := master.reads(name, payload); err != nil {
			t.Error(err)
		}
		eventually(t, maxWait, func() error { return backup.reads(name, payload) })
	}
}

// Promise: a clean stop does not wait for a TTL.
func TestStop_SuccessorDoesNotWaitForTheTTL(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 30*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "standby")
	b.await("STANDBY")
	a.mustPut("entity/x", "unique")
	began := time.Now()
	a.signal(syscall.SIGTERM)
	b.await("MASTER")
	if took := time.Since(began); took > 2*time.Second+slack {
		t.Errorf("b leads after %s with a TTL of 30s", took)
	}
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := b.reads("entity/x", "unique"); err != nil {
		t.Error(err)
	}
	c.judge()
}

// Promise: a stop is bounded even while the store does not answer.
func TestStop_IsBoundedWhenTheStoreIsGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	b.await("HOT_STANDBY")
	c.etcd.signal(syscall.SIGSTOP) // hung, which is worse than dead
	began := time.Now()
	for _, p := range []*process{a, b} {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range []*process{a, b} {
		if code := p.exit(10*time.Second + slack); code != 0 {
			t.Errorf("%s exits with %d", p.name, code)
		}
	}
	t.Logf("both ended after %s", time.Since(began).Round(time.Millisecond))
}

// Promise: a second signal ends the process at once, and the lease is left to
// lapse.
func TestStop_SecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	c.etcd.signal(syscall.SIGSTOP) // so that the first one takes its time
	a.signal(syscall.SIGTERM)
	eventually(t, maxWait, func() error {
		if a.field("stopping, a second signal ends the process at once", "signal") == "" {
			return fmt.Errorf("first signal not heeded yet")
		}
		return nil
	})
	began := time.Now()
	a.signal(syscall.SIGTERM)
	if code := a.exit(maxWait); code == 0 {
		t.Error("exit code 0 although nothing was handed over")
	}
	if took := time.Since(began); took > time.Second+slack {
		t.Errorf("took %s", took)
	}
}

// Promise: losing the store is no reason to exit. Nodes demote themselves in
// place, serve what they have, and come back by themselves.
func TestStore_RestartUnderALivePlane(t *testing.T) {
	for name, away := range map[string]time.Duration{"shorter than the TTL": 0, "longer than the TTL": 8 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 4*time.Second)
			a := c.node("a", "auto")
			a.await("MASTER")
			b := c.node("b", "hot_standby")
			backup := c.node("c", "hot_backup")
			b.await("HOT_STANDBY")
			backup.await("HOT_BACKUP")
			w := startWriters(t, 4, a, b, backup)
			w.more(t, 40)
			c.etcd.kill()
			if away > 0 {
				a.await("HOT_STANDBY") // demoted in place, by its own clock
				for _, p := range []*process{a, b, backup} {
					if err := p.get("/livez", &struct{}{}); err != nil {
						t.Errorf("not live without the store: %v", err)
					}
				}
				if a, err := backup.put("entity/none", []byte("x")); err != nil || a.status != 503 {
					t.Errorf("write without a master: %+v %v, want 503", a, err)
				}
			}
			c.startEtcd()
			w.more(t, 40)
			told := w.stop()
			found := c.judge(told...)
			if away == 0 && len(found.Terms) != 1 {
				t.Errorf("terms %+v, want the first to last", found.Terms)
			}
			for _, p := range []*process{a, b, backup} {
				select {
				case <-p.done:
					t.Errorf("%s has ended", p.name)
				default:
				}
			}
			for name, payload := range found.Latest {
				eventually(t, maxWait, func() error { return backup.reads(name, payload) })
			}
		})
	}
}
