package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func handover(t *testing.T, n *running, to string) (coordinator.HandoverResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return n.Handover(ctx, to)
}

// A script hands over and back: the second finds a candidate that is on its way.
func TestHandover_BackAtOnce(t *testing.T) {
	for _, to := range []string{"a", ""} {
		t.Run("to "+to, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, b := pair(l)
				l.server.Before(func(_ string, call memstore.Call) error {
					switch call {
					case memstore.CallStand, memstore.CallAnnounce, memstore.CallOffer, memstore.CallPass, memstore.CallPublish:
						<-time.After(10 * time.Millisecond) // a disk's sync
					}
					return nil
				})
				if _, err := handover(t, a, "b"); err != nil {
					t.Fatal(err)
				}
				pass(time.Millisecond) // b knows that it leads
				if _, err := handover(t, b, to); err != nil {
					t.Errorf("handover back = %v", err)
				}
			})
		})
	}
}

func TestHandover_PassesTheTerm(t *testing.T) {
	for _, to := range []string{"b", "c", ""} {
		t.Run("to "+to, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				fullPlane(l)
				old := l.nodes["a"].Status().Term
				passed, err := handover(t, l.nodes["a"], to)
				if err != nil {
					t.Fatal(err)
				}
				want := to
				if want == "" {
					want = "b" // hot before cold
				}
				settle() // the record is there a moment before the node says so itself
				if passed.From != "a" || passed.To != want || passed.Term <= old {
					t.Errorf("passed = %+v", passed)
				}
				if s := l.nodes[want].Status(); s.State != modes.StateMaster || s.Term != passed.Term {
					t.Errorf("%s is %s in term %d", want, s.State, s.Term)
				}
				if s := l.nodes["a"].Status().State; s != modes.StateHotStandby {
					t.Errorf("a is %s", s)
				}
				put(t, l.nodes[want], "entity/y", "1")
				p, err := l.nodes["a"].Plane(t.Context())
				if err != nil || p.Offer != nil {
					t.Errorf("plane = %+v, %v, want no offer left", p, err)
				}
				if m, _ := p.Member(want); m.ReadyFor != "" {
					t.Errorf("record of %s still says it is ready", want)
				}
			})
		})
	}
}

func TestHandover_RefusalsSayWhy(t *testing.T) {
	cases := map[string]string{
		"a": "leads already", "d": "never promoted", "nobody": "no live node",
	}
	for to, why := range cases {
		inLab(t, func(t *testing.T, l *lab) {
			fullPlane(l)
			before := l.states()
			_, err := handover(t, l.nodes["a"], to)
			if !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), why) {
				t.Errorf("handover to %s = %v, want a refusal that says %q", to, err, why)
			}
			if _, err := handover(t, l.nodes["b"], "c"); !errors.Is(err, coordinator.ErrNotMaster) {
				t.Errorf("handover by a standby = %v", err)
			}
			l.want(before)
			put(t, l.nodes["a"], "entity/y", "1")
		})
	}
}

func TestHandover_UnresponsiveTargetLeavesTheMasterLeading(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.server.Cut("b")
		began := time.Now()
		_, err := handover(t, l.nodes["a"], "b")
		if !errors.Is(err, driver.ErrRefused) {
			t.Fatalf("handover = %v, want it refused", err)
		}
		if took := time.Since(began); took > ttl+time.Second {
			t.Errorf("took %s, want an end when the target's lease lapses", took)
		}
		put(t, l.nodes["a"], "entity/x", "1")
		if p, _ := l.nodes["a"].Plane(t.Context()); p.Offer != nil {
			t.Errorf("offer %+v is left", p.Offer)
		}
	})
}

func TestHandover_WritersLoseNothing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		var mu sync.Mutex
		acked := make(map[rebind.Name]string)
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := rebind.Name(fmt.Sprintf("entity/w%d-%d", w, i))
					n := l.nodes[[]string{"a", "b"}[(w+i)%2]]
					_, err := n.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: name, Put: &rebind.Content{Payload: []byte(name)}}}})
					if err == nil {
						mu.Lock()
						acked[name] = string(name)
						mu.Unlock()
					}
					<-time.After(time.Millisecond)
				}
			})
		}
		for i := range 6 {
			from, to := l.nodes[[]string{"a", "b"}[i%2]], []string{"b", "a"}[i%2]
			if _, err := handover(t, from, to); err != nil {
				t.Errorf("handover %d: %v", i, err)
			}
			pass(50 * time.Millisecond)
		}
		cancel()
		writers.Wait()
		settle()
		reading, err := l.nodes["b"].Read()
		if err != nil {
			t.Fatal(err)
		}
		if len(acked) < 100 {
			t.Errorf("only %d writes, too few to prove anything", len(acked))
		}
		for name, want := range acked {
			if m, err := reading.View.Get(name); err != nil || string(m.Payload) != want {
				t.Errorf("%s: %v, want what was acknowledged", name, err)
			}
		}
	})
}
