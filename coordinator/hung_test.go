package coordinator_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// unread is a log that nobody reads: whoever writes the given message waits for read.
type unread struct {
	zapcore.LevelEnabler
	message string
	read    chan struct{}
}

func (u unread) With([]zapcore.Field) zapcore.Core { return u }

func (u unread) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, u)
}

func (u unread) Write(e zapcore.Entry, _ []zapcore.Field) error {
	if e.Message == u.message {
		<-u.read
	}
	return nil
}

func (u unread) Sync() error { return nil }

// hangsAt gives a node a logger that hangs at a message until the returned func is called.
func hangsAt(message string) (change func(*coordinator.Config), read func()) {
	u := unread{zapcore.DebugLevel, message, make(chan struct{})}
	return func(c *coordinator.Config) { c.Logger = zap.New(u) }, func() { close(u.read) }
}

// longest is how long a plane may be without a master because a node hangs: its loop
// is given up after coordinator.StallLimit, and its lease lapses.
const longest = ttl + ttl + 3*time.Second + time.Second

// An elected node that hangs before it leads loses its lease, and the next one leads.
func TestNode_ElectedAndHungGivesWay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		hang, read := hangsAt("elected")
		b := l.start("b", modes.HotStandby, hang, func(c *coordinator.Config) { c.Priority = 1 })
		c := l.start("c", modes.HotStandby)
		settle()
		l.server.Revoke("a")
		l.server.Cut("a")
		settle()
		if p := c.CachedPlane(); p.Holder.Node != "b" || b.Status().State == modes.StateMaster {
			t.Fatalf("term of %s, b is %s: want b elected, and hung", p.Holder.Node, b.Status().State)
		}
		pass(longest)
		if s := c.Status().State; s != modes.StateMaster {
			t.Errorf("c is %s %s after b hung, want it to lead", s, longest)
		}
		if left := b.Status().LeaseRemaining; left > 0 {
			t.Errorf("b relies on its lease for another %s", left)
		}
		read()
		l.server.Heal("a")
		pass(5 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateHotStandby, "c": modes.StateMaster})
	})
}

// A master whose loop hangs does not act beyond the bound, and is followed.
func TestNode_HungMasterIsFollowed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		hang, read := hangsAt("priority changed")
		a := l.start("a", modes.Auto, hang)
		settle()
		b := l.start("b", modes.HotStandby)
		settle()
		var hung sync.WaitGroup
		hung.Go(func() { _, _ = a.SetPriority(t.Context(), 3) })
		pass(ttl)
		put(t, a, "entity/x", "1") // it leads on for as long as it may
		pass(4 * time.Second)
		if st := a.Status(); st.Acting || st.LeaseRemaining > 0 || st.LoopAge < ttl {
			t.Errorf("a acts: %t, relies on its lease for %s, its loop came round %s ago", st.Acting, st.LeaseRemaining, st.LoopAge)
		}
		pass(ttl + time.Second)
		if s := b.Status().State; s != modes.StateMaster {
			t.Fatalf("b is %s after a hung, want it to lead", s)
		}
		read()
		hung.Wait()
		settle()
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateMaster})
		var reason string
		for _, tr := range a.Status().Transitions {
			if tr.From == modes.StateMaster {
				reason = tr.Reason
			}
		}
		if !strings.Contains(reason, driver.ErrHung.Error()) {
			t.Errorf("a left MASTER for %q, want %q", reason, driver.ErrHung)
		}
	})
}

// deaf is a store in which a term that has begun is not returned until it is let go.
type deaf struct {
	driver.Store
	letGo chan struct{}
}

func (s deaf) Join(ctx context.Context, r driver.Record) (driver.Presence, error) {
	m, err := s.Store.Join(ctx, r)
	return deafMember{m, s.letGo}, err
}

type deafMember struct {
	driver.Presence
	letGo chan struct{}
}

func (m deafMember) Stand(ctx context.Context) (driver.Candidacy, error) {
	c, err := m.Presence.Stand(ctx)
	return deafCandidacy{c, m.letGo}, err
}

type deafCandidacy struct {
	driver.Candidacy
	letGo chan struct{}
}

func (c deafCandidacy) Begin(ctx context.Context, s driver.Situation, conditions driver.Conditions) (driver.Term, error) {
	term, err := c.Candidacy.Begin(ctx, s, conditions)
	<-c.letGo
	return term, err
}

// A node whose campaign has won and hangs does not keep what it has won.
func TestNode_HungCampaignGivesWay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		letGo := make(chan struct{})
		l.plane.Wrap = func(id string, s driver.Store) driver.Store { return deaf{s, letGo} }
		b := l.start("b", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 1 })
		settle()
		l.plane.Wrap = nil
		c := l.start("c", modes.HotStandby)
		settle()
		l.server.Revoke("a")
		l.server.Cut("a")
		settle()
		if p := c.CachedPlane(); p.Holder.Node != "b" || b.Status().State == modes.StateMaster {
			t.Fatalf("term of %s, b is %s: want b elected, and deaf", p.Holder.Node, b.Status().State)
		}
		pass(longest)
		if s := c.Status().State; s != modes.StateMaster {
			t.Errorf("c is %s %s after b hung, want it to lead", s, longest)
		}
		close(letGo)
		l.server.Heal("a")
		pass(10 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateHotStandby, "c": modes.StateMaster})
	})
}

// Observers that hang keep nobody from anything.
func TestNode_HungObserverKeepsNothing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		release := make(chan struct{})
		a := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Observe = func(coordinator.Transition) { <-release }
		})
		pass(3 * ttl)
		put(t, a, "entity/x", "1")
		close(release)
		settle()
	})
}
