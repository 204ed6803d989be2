package coordtest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/etcdtest"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// soon is enough for everything that waits for no lease.
const soon = 5 * time.Second

// onEach runs a test on a plane in memory, in virtual time, and on a real etcd.
func onEach(t *testing.T, test func(t *testing.T, p *coordtest.Plane)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { inMemory(t, test) })
	t.Run("etcd", func(t *testing.T) {
		if testing.Short() {
			t.Skip("it waits for leases in real time")
		}
		running := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, running) }) // runs after the plane's
		test(t, etcdtest.New(t))
	})
}

func inMemory(t *testing.T, test func(t *testing.T, p *coordtest.Plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, coordtest.New(t)) })
}

// pair starts a master a and a hot standby b.
func pair(p *coordtest.Plane) (a, b *coordtest.Node) {
	a = p.Start(coordinator.Config{ID: "a"})
	a.AwaitState(modes.StateMaster, soon)
	b = p.Start(coordinator.Config{ID: "b"})
	b.AwaitState(modes.StateHotStandby, soon)
	return a, b
}

func put(n *coordtest.Node, name rebind.Name, payload string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := n.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: name, Put: &rebind.Content{Payload: []byte(payload)}}}})
	return err
}

func read(n *coordtest.Node, name rebind.Name) string {
	r, err := n.Read()
	if err != nil {
		return err.Error()
	}
	m, err := r.View.Get(name)
	if err != nil {
		return ""
	}
	return string(m.Payload)
}

func mustPut(t *testing.T, n *coordtest.Node, name rebind.Name, payload string) {
	t.Helper()
	if err := put(n, name, payload); err != nil {
		t.Fatalf("put %s on %s: %v", name, n.Name(), err)
	}
}

// A node that is stopped hands over, so that nobody waits for its lease.
func TestNode_Stop(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		term := a.Status().Term
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		b.AwaitState(modes.StateMaster, p.TTL()/3)
		if n := p.AwaitTerm(term, soon); n != b {
			t.Errorf("%s leads", n.Name())
		}
	})
}

// A node that is killed says nothing more: its lease has to lapse, and then its id is free.
func TestNode_Kill(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		killed := time.Now()
		a.Kill()
		p.Pass(p.TTL() / 3)
		if s := b.State(); s != modes.StateHotStandby {
			t.Fatalf("b is %s before the lease of a can have lapsed", s)
		}
		b.AwaitState(modes.StateMaster, p.TTL()+soon)
		if took := time.Since(killed); took < p.TTL()/2 {
			t.Errorf("b leads after %s, with a TTL of %s", took, p.TTL())
		}
		if err := put(a, "entity/x", "late"); err == nil {
			t.Error("a killed node writes")
		}
		again := p.Start(coordinator.Config{ID: "a"})
		again.AwaitState(modes.StateHotStandby, soon)
		if p.Node("a") != again {
			t.Error("the name a is not that of the new node")
		}
	})
}

// A node that stands still does not learn that its time is over. Once it goes on, what it
// writes is refused, and it stands by.
func TestNode_Freeze(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		a.Freeze()
		b.AwaitState(modes.StateMaster, p.TTL()+soon)
		p.Pass(p.TTL())
		if s := a.State(); s != modes.StateMaster {
			t.Errorf("a is %s: it has noticed something while it stood still", s)
		}
		var writing sync.WaitGroup
		var late error
		writing.Go(func() { late = put(a, "entity/x", "late") })
		p.Pass(100 * time.Millisecond)
		a.Thaw()
		writing.Wait()
		if late == nil {
			t.Error("what a frozen master writes late is stored")
		}
		a.AwaitState(modes.StateHotStandby, p.TTL()+soon)
		if s := b.State(); s != modes.StateMaster {
			t.Errorf("b is %s in the end", s)
		}
		mustPut(t, b, "entity/x", "1")
	})
}

// A master that is partitioned from the store stops before another one can begin.
func TestNode_Partition(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		a.Partition()
		p.Await(p.TTL()+soon, func() error {
			if a.Status().Acting && b.Status().Acting {
				t.Fatal("both act as master")
			}
			if !b.Status().Acting {
				return errors.New("b does not lead")
			}
			return nil
		})
		a.Heal()
		a.AwaitState(modes.StateHotStandby, p.TTL()+soon)
	})
}

// A lease that the store ends is lost at once.
func TestNode_Expire(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		a.Expire()
		b.AwaitState(modes.StateMaster, p.TTL()/2)
		a.AwaitState(modes.StateHotStandby, soon)
	})
}

// A write whose answer is lost has taken effect, and its caller is told that this is not known.
func TestNode_LoseAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		a.LoseAnswer(memstore.CallCommit)
		if err := put(a, "entity/x", "1"); !errors.Is(err, rebind.ErrUnknown) {
			t.Errorf("put = %v, want ErrUnknown", err)
		}
		p.Await(soon, func() error {
			if got := read(b, "entity/x"); got != "1" {
				return errors.New("b reads " + got)
			}
			return nil
		})
		mustPut(t, p.AwaitMaster(p.TTL()+soon), "entity/y", "1")
	})
}

// A term that has begun and whose candidate was not told so is led all the same.
func TestNode_LoseAnswerOfTerm(t *testing.T) {
	inMemory(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		b.LoseAnswer(memstore.CallClaim)
		term := a.Status().Term
		a.Kill()
		b.AwaitState(modes.StateMaster, p.TTL()+soon)
		if b.Status().Term <= term {
			t.Errorf("term %d follows %d", b.Status().Term, term)
		}
	})
}

// A late answer comes, and the caller has waited.
func TestNode_DelayAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		a.DelayAnswer(memstore.CallCommit, time.Second)
		began := time.Now()
		mustPut(t, a, "entity/x", "1")
		if took := time.Since(began); took < time.Second {
			t.Errorf("the answer came after %s", took)
		}
		if got := read(b, "entity/x"); got != "1" {
			t.Errorf("b reads %q", got)
		}
	})
}

// A call that is refused has no effect.
func TestNode_OnCall(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, _ := pair(p)
		a.OnCall(memstore.CallCommit, func() error { return driver.ErrStoreFull })
		if err := put(a, "entity/x", "1"); !errors.Is(err, driver.ErrStoreFull) {
			t.Errorf("put = %v, want ErrStoreFull", err)
		}
		a.OnCall(memstore.CallCommit, nil)
		if got := read(a, "entity/x"); got != "" {
			t.Errorf("a reads %q", got)
		}
		mustPut(t, a, "entity/x", "2")
	})
}

// A full store takes nothing that needs room until there is some.
func TestPlane_Fill(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, _ := pair(p)
		p.Fill(true)
		if err := put(a, "entity/x", "1"); !errors.Is(err, driver.ErrStoreFull) {
			t.Errorf("put = %v, want ErrStoreFull", err)
		}
		p.Fill(false)
		mustPut(t, a, "entity/x", "1")
	})
}

// A store that is away for longer than the TTL has no master, and one soon after.
func TestPlane_Away(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		p.Away(true)
		p.Pass(p.TTL() + p.TTL()/2)
		if a.Status().Acting || b.Status().Acting {
			t.Errorf("somebody acts as master: %v", p.States())
		}
		p.Away(false)
		mustPut(t, p.AwaitMaster(p.TTL()+2*soon), "entity/x", "1")
	})
}

// A node that was away while history was compacted loads anew.
func TestPlane_Compact(t *testing.T) {
	onEach(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		b.Freeze()
		mustPut(t, a, "entity/x", "1")
		mustPut(t, a, "entity/x", "2")
		p.Compact()
		b.Thaw()
		p.Await(p.TTL()+soon, func() error {
			if got := read(b, "entity/x"); got != "2" {
				return errors.New("b reads " + got)
			}
			return nil
		})
	})
}

// A store that is restored from a backup has the state of the backup, and every node sees it.
func TestPlane_Backup(t *testing.T) {
	inMemory(t, func(t *testing.T, p *coordtest.Plane) {
		a, b := pair(p)
		mustPut(t, a, "entity/x", "before")
		restore := p.Backup()
		mustPut(t, a, "entity/x", "after")
		restore()
		p.Await(2*p.TTL()+soon, func() error {
			m := p.AwaitMaster(2*p.TTL() + soon)
			if got := read(m, "entity/x"); got != "before" {
				return errors.New("the master reads " + got)
			}
			if got := read(b, "entity/x"); got != "before" {
				return errors.New("b reads " + got)
			}
			return nil
		})
	})
}
