package coordinator_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// calls records a program's calls.
type calls struct {
	begun chan int64 // terms
	ended chan error // causes
}

func newCalls() *calls {
	return &calls{begun: make(chan int64, 100), ended: make(chan error, 100)}
}

// program leads until its context ends.
func (c *calls) program(ctx context.Context, l *coordinator.Leader) error {
	c.begun <- l.Term()
	<-ctx.Done()
	c.ended <- context.Cause(ctx)
	return nil
}

func (c *calls) config(cfg *coordinator.Config) { cfg.Lead = c.program }

func TestProgram_IsCalledOncePerTermWithTheState(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		first := l.start("a", modes.Auto)
		settle()
		put(t, first, "entity/x", "1")
		saw := make(chan string, 1)
		c := newCalls()
		b := l.start("b", modes.HotStandby, func(cfg *coordinator.Config) {
			cfg.Lead = func(ctx context.Context, ld *coordinator.Leader) error {
				m, err := ld.View().Get("entity/x")
				if err != nil {
					return err
				}
				saw <- string(m.Payload)
				if _, err := ld.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: "entity/y", Put: &rebind.Content{}}}}); err != nil {
					return err
				}
				return c.program(ctx, ld)
			}
		})
		settle()
		if len(c.begun) != 0 {
			t.Fatal("called on a standby")
		}
		if _, err := handover(t, first, "b"); err != nil {
			t.Fatal(err)
		}
		settle()
		if got := <-saw; got != "1" {
			t.Errorf("program saw %q", got)
		}
		if term := <-c.begun; term != b.Status().Term {
			t.Errorf("called for term %d, node leads %d", term, b.Status().Term)
		}
		if _, err := handover(t, b, "a"); err != nil {
			t.Fatal(err)
		}
		if cause := <-c.ended; !errors.Is(cause, driver.ErrTermOver) {
			t.Errorf("cause = %v, want ErrTermOver", cause)
		}
		if len(c.begun) != 0 {
			t.Error("called again")
		}
	})
}

func TestProgram_ContextEndsWithTheTerm(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCalls()
		a := l.start("a", modes.Auto, c.config)
		settle()
		<-c.begun
		l.server.Cut("a")
		cut := time.Now()
		cause := <-c.ended
		if !errors.Is(cause, driver.ErrTermOver) || time.Since(cut) > ttl-driver.Margin(ttl) {
			t.Errorf("ended after %s with %v", time.Since(cut), cause)
		}
		l.server.Heal("a")
		pass(2 * ttl)
		if a.Status().State != modes.StateMaster || len(c.begun) != 1 {
			t.Errorf("states = %v, %d further calls, want one for the new term", l.states(), len(c.begun))
		}
	})
}

// Promise: however a term is given up, its program has returned before the next one
// begins.
func TestProgram_HasReturnedBeforeTheNextTermBegins(t *testing.T) {
	ways := map[string]func(t *testing.T, a *running) error{
		"handover": func(t *testing.T, a *running) error { _, err := handover(t, a, "b"); return err },
		"demotion": func(t *testing.T, a *running) error { _, err := changeMode(t, a, modes.HotBackup); return err },
		"stop":     func(_ *testing.T, a *running) error { return a.Stop() },
	}
	for name, giveUp := range ways {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				var running atomic.Int32
				leads := func(c *coordinator.Config) {
					c.Lead = func(ctx context.Context, _ *coordinator.Leader) error {
						if running.Add(1) != 1 {
							t.Error("two programs run at once")
						}
						defer running.Add(-1)
						<-ctx.Done()
						<-time.After(time.Second) // it has something to put away
						return nil
					}
				}
				a := l.start("a", modes.Auto, leads)
				settle()
				l.start("b", modes.HotStandby, leads)
				settle()
				if err := giveUp(t, a); err != nil {
					t.Fatal(err)
				}
				settle()
				if s := l.nodes["b"].Status().State; s != modes.StateMaster || running.Load() != 1 {
					t.Errorf("b is %s, %d programs run", s, running.Load())
				}
			})
		})
	}
}

func TestProgram_FailureGivesTheTermUp(t *testing.T) {
	cases := map[string]func() error{
		"error": func() error { return errors.New("disk on fire") },
		"panic": func() error { panic("disk on fire") },
	}
	for name, end := range cases {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				fire := make(chan struct{})
				a := l.start("a", modes.Auto, func(c *coordinator.Config) {
					c.Lead = func(context.Context, *coordinator.Leader) error { <-fire; return end() }
				})
				settle()
				b := l.start("b", modes.Auto)
				settle()
				close(fire)
				settle()
				l.want(map[string]modes.State{"a": modes.StateFailed, "b": modes.StateMaster})
				if why := a.Status().LastError; !strings.Contains(why, "disk on fire") {
					t.Errorf("last error = %q", why)
				}
				if p, _ := b.Plane(t.Context()); p.Members[0].State != modes.StateFailed || p.Members[0].LastError == "" {
					t.Errorf("record = %+v, want it to say FAILED and why", p.Members[0])
				}
				pass(3 * ttl)
				l.want(map[string]modes.State{"a": modes.StateFailed, "b": modes.StateMaster})
				change, err := changeMode(t, a, modes.Auto) // the mode it has: starts afresh
				if err != nil || change.State != modes.StateHotStandby {
					t.Errorf("change = %+v, %v", change, err)
				}
				if a.Status().LastError != "" {
					t.Errorf("last error = %q after a fresh start", a.Status().LastError)
				}
			})
		})
	}
}

func TestProgram_ThatDoesNotReturnKeepsItsNodeOutOfTheElection(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		release := make(chan struct{})
		a := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Lead = func(context.Context, *coordinator.Leader) error { <-release; return nil }
		})
		settle()
		l.start("b", modes.HotStandby)
		settle()
		l.server.Revoke("a")
		pass(ttl)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateMaster})
		_ = l.nodes["b"].Stop()
		pass(2 * ttl)
		if s := a.Status(); s.State == modes.StateMaster || s.InElection {
			t.Errorf("a is %s, in the election: %t, while its old program runs", s.State, s.InElection)
		}
		close(release)
		settle()
		if s := a.Status().State; s != modes.StateMaster {
			t.Errorf("a is %s once its program has returned", s)
		}
	})
}

func TestProgram_IsCalledAgainWhenItsHandoverIsUndone(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCalls()
		a := l.start("a", modes.Auto, func(cfg *coordinator.Config) {
			cfg.Lead = func(ctx context.Context, ld *coordinator.Leader) error {
				err := c.program(ctx, ld)
				l.server.Revoke("b") // the target dies at the worst moment
				return err
			}
		})
		settle()
		l.start("b", modes.HotStandby)
		settle()
		term := a.Status().Term
		<-c.begun
		if _, err := handover(t, a, "b"); !errors.Is(err, driver.ErrRefused) {
			t.Fatalf("handover = %v, want it undone", err)
		}
		settle()
		if got := <-c.begun; got != term || a.Status().State != modes.StateMaster {
			t.Errorf("called for term %d, state %s, want term %d to go on", got, a.Status().State, term)
		}
		put(t, a, "entity/x", "1")
	})
}

// A handover is undone, and the node hangs until its lease has lapsed: the program that was
// stopped for the handover must not be called for a term that is over.
func TestProgram_IsNotCalledForATermThatIsOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCalls()
		a := l.start("a", modes.Auto, func(cfg *coordinator.Config) {
			cfg.Lead = func(ctx context.Context, ld *coordinator.Leader) error {
				err := c.program(ctx, ld)
				l.server.Revoke("b") // the target dies at the worst moment
				return err
			}
			cfg.Logger = zaptest.NewLogger(t).WithOptions(zap.Hooks(func(e zapcore.Entry) error {
				if strings.HasPrefix(e.Message, "handover undone") {
					<-time.After(3 * ttl) // nobody reads the log
				}
				return nil
			}))
		})
		settle()
		l.start("b", modes.HotStandby)
		settle()
		term := <-c.begun
		_, _ = handover(t, a, "b")
		pass(4 * ttl)
		for len(c.begun) > 0 {
			if again := <-c.begun; again == term {
				t.Errorf("called again for term %d, which is over", again)
			}
		}
	})
}
