package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	controlSeeds   = 120
	controlClients = 6
	controlActs    = 10
)

// Promise: whatever operators ask for at once, at whichever nodes, and whatever
// breaks meanwhile: calls take turns, answers are true, no two nodes act as master
// at once, no acknowledged write is lost, and with everything healed the plane has
// one master.
func TestControl_ByManyAtOnce(t *testing.T) {
	for seed := range uint64(controlSeeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) { newControl(l, seed).run() })
		})
	}
}

// control is a plane under many hands.
type control struct {
	*lab
	seed uint64
	ids  []string

	mu    sync.Mutex // guards the fields below and the lab's nodes
	held  map[string][]spell
	acked map[rebind.Name]string
	down  map[string]bool
}

// spell is a state that a node came to.
type spell struct {
	at    time.Time
	state modes.State
}

func newControl(l *lab, seed uint64) *control {
	return &control{
		lab: l, seed: seed, ids: []string{"a", "b", "c", "d"},
		held:  make(map[string][]spell),
		acked: make(map[rebind.Name]string),
		down:  make(map[string]bool),
	}
}

func (c *control) run() {
	for i, id := range c.ids {
		c.up(id, []modes.Mode{modes.Auto, modes.Auto, modes.Auto, modes.HotBackup}[i])
		settle()
	}
	watching, stopWatching := context.WithCancel(c.t.Context())
	var watch, clients sync.WaitGroup
	watch.Go(func() { c.watch(watching) })
	for i := range controlClients {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(c.seed, uint64(i)))
			for act := range controlActs {
				<-time.After(time.Duration(r.IntN(1500)) * time.Millisecond)
				c.act(r, fmt.Sprintf("entity/c%d-%d", i, act))
			}
		})
	}
	clients.Wait()
	c.mend()
	stopWatching()
	watch.Wait()
	c.judge()
}

// up starts a node and notes the states it comes to.
func (c *control) up(id string, mode modes.Mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[id] = append(c.held[id], spell{time.Now(), modes.StateInitializing})
	c.start(id, mode, func(cfg *coordinator.Config) {
		observe := cfg.Observe
		cfg.Observe = func(tr coordinator.Transition) {
			observe(tr)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.held[id] = append(c.held[id], spell{time.Now(), tr.To})
		}
		if id == "b" {
			cfg.ColdStandby = true
		}
	})
}

// byHand reports whether keys are deleted by hand under this seed. A master that is
// cut off while its key is deleted cannot know, and acts until its deadline: only
// the fence stops it.
func (c *control) byHand() bool { return c.seed%2 == 1 }

func (c *control) node(id string) *running {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// acting returns those who act as master.
func (c *control) acting() (ids []string) {
	for _, id := range c.ids {
		if c.node(id).Status().Acting {
			ids = append(ids, id)
		}
	}
	return ids
}

// watch sees that there is never more than one.
func (c *control) watch(ctx context.Context) {
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
		// Who acted before the other was seen to act, and after, did so meanwhile.
		if ids := c.acting(); len(ids) > 1 && !c.byHand() && c.node(ids[0]).Status().Acting {
			c.t.Errorf("%v act as master at once", ids)
			return
		}
	}
}

// act does one thing at random.
func (c *control) act(r *rand.Rand, name string) {
	id := c.ids[r.IntN(len(c.ids))]
	n := c.node(id)
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Duration(1+r.IntN(60))*time.Second)
	defer cancel()
	switch r.IntN(12) {
	case 0, 1, 2:
		c.change(ctx, id, n, modes.Modes()[r.IntN(len(modes.Modes()))])
	case 3:
		if _, err := n.SetPriority(ctx, r.IntN(5)-2); err != nil && !expected(err) {
			c.t.Errorf("priority of %s: %v", id, err)
		}
	case 4, 5:
		c.handover(ctx, r, id, n)
	case 6:
		_, _ = n.Pause(ctx, time.Duration(r.IntN(3))*time.Second)
	case 7:
		_ = n.Resume(ctx)
	case 8:
		c.restart(id, n)
	case 9:
		c.harm(r, id)
	default:
		c.write(ctx, rebind.Name(name))
	}
}

// expected reports whether an error is one that operators are told of.
func expected(err error) bool {
	return slices.ContainsFunc([]error{
		coordinator.ErrStopped, driver.ErrRefused, coordinator.ErrMasterExists, coordinator.ErrNotMaster,
		coordinator.ErrPending, rebind.ErrUnknown, rebind.ErrUnavailable, driver.ErrFenced, context.DeadlineExceeded,
	}, func(known error) bool { return errors.Is(err, known) })
}

// change asks for a mode and checks the answer against what was.
func (c *control) change(ctx context.Context, id string, n *running, to modes.Mode) {
	began := time.Now()
	change, err := n.ChangeMode(ctx, to)
	switch {
	case err != nil && !expected(err):
		c.t.Errorf("%s to %s: %v", id, to, err)
	case errors.Is(err, driver.ErrRefused), errors.Is(err, coordinator.ErrMasterExists):
		if change.Mode != change.PreviousMode {
			c.t.Errorf("%s to %s was refused (%v) and its mode became %s", id, to, err, change.Mode)
		}
	case err == nil:
		if change.Mode != to {
			c.t.Errorf("%s to %s: the answer is %s", id, to, change.Mode)
		}
		if change.PreviousMode != to && change.State == modes.StateInitializing {
			c.t.Errorf("%s to %s: answered before a state was reached", id, to)
		}
		c.wasIn(id, change.State, began)
	}
}

// wasIn wants the node to have been in a state at some moment since.
func (c *control) wasIn(id string, state modes.State, since time.Time) {
	<-time.After(time.Millisecond) // until observers have been told
	c.mu.Lock()
	defer c.mu.Unlock()
	spells := c.held[id]
	for i, s := range spells {
		ended := i+1 < len(spells) && spells[i+1].at.Before(since)
		if s.state == state && !ended {
			return
		}
	}
	c.t.Errorf("%s was said to be %s since %s, it was %v", id, state, since, spells)
}

func (c *control) handover(ctx context.Context, r *rand.Rand, id string, n *running) {
	to := c.ids[r.IntN(len(c.ids))]
	if r.IntN(2) == 0 {
		to = ""
	}
	began := time.Now()
	passed, err := n.Handover(ctx, to)
	if err != nil {
		if !expected(err) {
			c.t.Errorf("handover from %s to %q: %v", id, to, err)
		}
		return
	}
	if passed.From != id || (to != "" && passed.To != to) || passed.Term == 0 {
		c.t.Errorf("handover from %s to %q: %+v", id, to, passed)
	}
	c.wasIn(passed.To, modes.StateMaster, began)
}

func (c *control) write(ctx context.Context, name rebind.Name) {
	for _, id := range c.ids {
		_, err := c.node(id).Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: name, Put: &rebind.Content{Payload: []byte(name)}}}})
		switch {
		case err == nil:
			c.mu.Lock()
			c.acked[name] = string(name)
			c.mu.Unlock()
			return
		case !expected(err):
			c.t.Errorf("write %s at %s: %v", name, id, err)
		}
	}
}

// restart stops a node and starts it again, if nobody else is about to.
func (c *control) restart(id string, n *running) {
	c.mu.Lock()
	busy := c.down[id]
	c.down[id] = true
	c.mu.Unlock()
	if busy {
		return
	}
	_ = n.Stop()
	<-time.After(100 * time.Millisecond)
	c.up(id, modes.Auto)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[id] = false
}

// harm breaks something, and mends it again where that does not happen by itself.
func (c *control) harm(r *rand.Rand, id string) {
	switch f := r.IntN(5); {
	case f == 0 && c.byHand():
		c.server.Revoke(id)
	case f == 1 && c.byHand():
		c.server.DeleteCandidate(id)
	case f == 2:
		c.server.LoseAnswer(id, func() {})
	default:
		c.server.Cut(id)
		<-time.After(time.Duration(r.IntN(12)) * time.Second)
		c.server.Heal(id)
	}
}

// mend ends all faults and asks everybody to stand by for what comes.
func (c *control) mend() {
	for _, id := range c.ids {
		c.server.Heal(id)
	}
	if err := c.server.Node("operator").Resume(c.t.Context()); err != nil {
		c.t.Error(err)
	}
	pass(4 * ttl)
	for _, id := range c.ids {
		if _, err := changeMode(c.t, c.node(id), modes.Auto); err != nil {
			c.t.Errorf("%s to auto at the end: %v", id, err)
		}
	}
	pass(3 * ttl)
}

// judge looks at what is left when all is well again.
func (c *control) judge() {
	m := c.master()
	put(c.t, m, "entity/last", "1")
	settle()
	for _, id := range c.ids {
		reading, err := c.node(id).Read()
		if id == "b" && errors.Is(err, coordinator.ErrNotReadable) {
			continue // it stands by cold
		}
		if err != nil {
			c.t.Errorf("%s: %v", id, err)
			continue
		}
		for name, want := range c.acked {
			if got, err := reading.View.Get(name); err != nil || string(got.Payload) != want {
				c.t.Errorf("%s at %s: %v, %v, want what was acknowledged", name, id, got, err)
			}
		}
	}
}
