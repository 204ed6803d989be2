package coordinator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// refusing has a node take no memento whose payload is "bad", and none at all of type
// trap: there its check panics.
func refusing(rules rebind.Rules) func(*coordinator.Config) {
	return func(c *coordinator.Config) {
		c.Rules = rules
		c.Rules.Check = func(m *rebind.Memento) error {
			if m.Name.Type() == "trap" {
				panic("trapped")
			}
			if string(m.Payload) == "bad" {
				return errors.New("no good")
			}
			return nil
		}
	}
}

func TestRules_ByPolicyAtTheFirstLoad(t *testing.T) {
	all := []string{"*"}
	cases := []struct {
		name  string
		rules rebind.Rules
		names []string // what the error names; none: the node leads
		also  string   // how many more it speaks of
	}{
		{"continue leads without them", rebind.Rules{}, nil, ""},
		{"fail_at_end reports all", rebind.Rules{FailAtEnd: all}, []string{"entity/b"}, "and 3 more"},
		{"fail_fast reports the first", rebind.Rules{FailFast: all}, []string{"entity/b"}, ""},
		{"a type of its own policy", rebind.Rules{Continue: all, FailAtEnd: []string{"entity"}}, []string{"entity/b"}, "and 1 more"},
		{"a type that may be left out", rebind.Rules{FailFast: all, Continue: []string{"entity", "trap"}}, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.server.Put("entity/a", rebind.Content{Payload: []byte("good")}, "")
				l.server.Put("entity/b", rebind.Content{Payload: []byte("bad")}, "")
				l.server.Put("entity/c", rebind.Content{}, "not readable")
				l.server.Put("trap/a", rebind.Content{}, "")
				l.server.Put("trap/b", rebind.Content{}, "")
				n := l.start("a", modes.Auto, refusing(c.rules))
				settle()
				s := n.Status()
				if c.names == nil {
					if s.State != modes.StateMaster || s.Mirror.Count != 1 || s.Quarantined != 4 || len(s.Faults) != 4 {
						t.Fatalf("status = %+v, want a master with four in quarantine", s)
					}
					if r, _ := n.Read(); r.View == nil {
						t.Fatal("no view")
					} else if _, err := r.View.Get("trap/a"); !errors.Is(err, rebind.ErrQuarantined) || !contains(err.Error(), "trapped") {
						t.Errorf("get = %v", err)
					}
					return
				}
				p, err := n.Plane(t.Context())
				if m, _ := p.Member("a"); err != nil || s.State != modes.StateFailed || m.State != modes.StateFailed || m.LastError != s.LastError || p.Held {
					t.Errorf("status %s %q, record %+v, %v", s.State, s.LastError, m, err)
				}
				for _, name := range c.names {
					if !contains(s.LastError, name) {
						t.Errorf("last error = %q, want it to name %s", s.LastError, name)
					}
				}
				if more := strings.Contains(s.LastError, "more)"); more != (c.also != "") || !contains(s.LastError, c.also) {
					t.Errorf("last error = %q, want %q", s.LastError, c.also)
				}
				// Mended, and asked for its mode once more, it starts afresh.
				for _, name := range []rebind.Name{"entity/b", "entity/c"} {
					l.server.Put(name, rebind.Content{Payload: []byte("good")}, "")
				}
				if len(c.rules.Continue) == 0 {
					return // the traps are still there
				}
				if change, err := changeMode(t, n, modes.Auto); err != nil || change.State == modes.StateFailed {
					t.Errorf("afresh = %+v, %v", change, err)
				}
				settle()
				l.master()
			})
		})
	}
}

func TestRules_WhatAppearsUnderAHotNodeIsQuarantinedWhateverThePolicy(t *testing.T) {
	all := []string{"*"}
	for policy, rules := range map[string]rebind.Rules{"continue": {Continue: all}, "fail_at_end": {FailAtEnd: all}, "fail_fast": {FailFast: all}} {
		inLab(t, func(t *testing.T, l *lab) {
			a := l.start("a", modes.Auto, refusing(rules))
			settle()
			b := l.start("b", modes.HotStandby, refusing(rules))
			settle()
			l.server.Stall("b", true) // it has to load anew
			put(t, a, "entity/x", "bad")
			l.server.Compact()
			l.server.Stall("b", false)
			l.server.Put("entity/y", rebind.Content{}, "not readable")
			settle()
			for _, n := range []*running{a, b} {
				r, err := n.Read()
				if err != nil || n.Status().Quarantined != 2 {
					t.Fatalf("%s: %v, %d in quarantine", policy, err, n.Status().Quarantined)
				}
				if _, err := r.View.Get("entity/x"); !errors.Is(err, rebind.ErrQuarantined) {
					t.Errorf("%s: get = %v", policy, err)
				}
			}
			// A mirror that has them is as good as any for a promotion.
			l.kill("a")
			pass(ttl)
			if s := b.Status(); s.State != modes.StateMaster || s.Quarantined != 2 {
				t.Fatalf("%s: b is %s with %d in quarantine", policy, s.State, s.Quarantined)
			}
			put(t, b, "entity/x", "good")
			if _, err := b.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/y"}}}); err != nil {
				t.Errorf("%s: delete = %v", policy, err)
			}
			if s := b.Status(); s.Quarantined != 0 || s.Mirror.Count != 1 {
				t.Errorf("%s: %d in quarantine, %d mementos, want it healed", policy, s.Quarantined, s.Mirror.Count)
			}
		})
	}
}

func TestRules_ThatRefuseAPromotionLeaveItToTheNext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		put(t, a, "entity/x", "bad")
		l.start("b", modes.HotStandby)
		best := func(c *coordinator.Config) { c.Priority = 9 }
		c := l.start("c", modes.Standby, best, refusing(rebind.Rules{FailFast: []string{"*"}}))
		settle()
		l.kill("a")
		settle()
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateMaster, "c": modes.StateFailed})
		p, err := c.Plane(t.Context())
		if m, _ := p.Member("c"); err != nil || !contains(m.LastError, "entity/x: no good") || m.Candidacy != 0 {
			t.Errorf("record of c = %+v, %v", m, err)
		}
		h, err := c.History(t.Context())
		if err != nil || h[0].Node != "b" || h[0].From != "c" || h[0].Reason != driver.ReasonFailover {
			t.Errorf("history = %+v, %v", h, err)
		}
		pass(3 * ttl)
		if s := c.Status().State; s != modes.StateFailed {
			t.Errorf("c is %s", s)
		}
	})
}
