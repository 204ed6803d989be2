package coordtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// A program that is stopped leaves its term to the standby. In a test, t is the test's.
func ExampleNew() {
	t := newT()
	defer t.end()

	lead := func(id string) coordinator.Config {
		return coordinator.Config{ID: id, Lead: func(ctx context.Context, _ *coordinator.Leader) error {
			fmt.Println(id, "leads") // before the plane ends, which waits for it
			<-ctx.Done()
			return nil
		}}
	}
	plane := coordtest.New(t)
	a := plane.Start(lead("a"))
	a.AwaitState(modes.StateMaster, time.Minute)
	b := plane.Start(lead("b"))
	b.AwaitState(modes.StateHotStandby, time.Minute)
	if err := a.Stop(); err != nil {
		fmt.Println("a ends with", err)
	}
	b.AwaitState(modes.StateMaster, time.Minute)
	// Output:
	// a leads
	// b leads
}

// A short TTL has leases lapse soon where time is real.
func ExampleNode_Kill() {
	t := newT()
	defer t.end()

	plane := coordtest.On(t, coordtest.Memory(memstore.New(2*time.Second)))
	a := plane.Start(coordinator.Config{ID: "a"})
	a.AwaitState(modes.StateMaster, time.Minute)
	b := plane.Start(coordinator.Config{ID: "b"})
	b.AwaitState(modes.StateHotStandby, time.Minute)
	a.Kill()
	fmt.Println("master:", plane.AwaitMaster(time.Minute).ID())
	// Output:
	// master: b
}

// A program has to know what to do when it does not learn whether a write has happened.
func ExampleNode_LoseAnswer() {
	t := newT()
	defer t.end()

	plane := coordtest.New(t)
	a := plane.Start(coordinator.Config{ID: "a"})
	a.AwaitState(modes.StateMaster, time.Minute)
	a.LoseAnswer(memstore.CallCommit)
	_, err := a.Commit(context.Background(), rebind.Delta{Ops: []rebind.Op{
		{Name: "note/x", Put: &rebind.Content{Payload: []byte("1")}},
	}})
	fmt.Println(errors.Is(err, rebind.ErrUnknown))
	// Output:
	// true
}
