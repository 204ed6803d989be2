package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// run runs a node until stop is called. The examples use a store in memory; a program opens
// one with etcdstore.Open.
func run(cfg coordinator.Config, store driver.Store) (node *coordinator.Node, stop func()) {
	node, err := coordinator.New(cfg, store)
	if err != nil {
		fmt.Println(err)
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := node.Run(ctx); err != nil {
			fmt.Println(err)
		}
	})
	return node, func() { cancel(); running.Wait() }
}

// await waits until a node is in a state.
func await(node *coordinator.Node, state modes.State) {
	for node.State() != state {
		<-time.After(time.Millisecond)
	}
}

// A program that leads while its node is master, and keeps its state in the plane.
func Example() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	type visit struct{ Term int64 }
	visits := rebind.JSON[visit]("visit")
	led := make(chan struct{})
	_, stop := run(coordinator.Config{
		ID: "a", Plane: "default", Mode: modes.Auto,
		// Lead is called once for each term of this node. Its context ends with the term.
		Lead: func(ctx context.Context, l *coordinator.Leader) error {
			if _, err := visits.Put(ctx, l, "latest", visit{l.Term()}); err != nil {
				return err
			}
			latest, err := visits.Get(l.View(), "latest")
			if err != nil {
				return err
			}
			fmt.Println("this term's own:", latest.Value.Term == l.Term())
			close(led)
			<-ctx.Done()
			return nil
		},
	}, server.Node("a"))
	<-led
	stop()
	// Output: this term's own: true
}

// A hot standby reads the same state as the master. A write there fails with an error that
// names the master.
func ExampleNode() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	master, stop := run(coordinator.Config{ID: "a", URI: "http://a:7400", Plane: "default", Mode: modes.Auto}, server.Node("a"))
	defer stop()
	await(master, modes.StateMaster)
	standby, stop := run(coordinator.Config{ID: "b", Plane: "default", Mode: modes.HotStandby}, server.Node("b"))
	defer stop()
	await(standby, modes.StateHotStandby)

	ctx, colors := context.Background(), rebind.JSON[string]("color")
	written, err := colors.Put(ctx, master, "sky", "blue")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := standby.WaitRevision(ctx, written.Revision); err != nil { // read what was written
		fmt.Println(err)
		return
	}
	sky, err := colors.Get(standby.View(), "sky")
	fmt.Println("the standby reads", sky.Value, err)

	_, err = colors.Put(ctx, standby, "sky", "grey")
	var not *coordinator.MasterError
	fmt.Println(errors.Is(err, coordinator.ErrNotMaster), errors.As(err, &not))
	fmt.Println(not, "|", not.ID, not.URI)
	// Output:
	// the standby reads blue <nil>
	// true true
	// this node is not master: node a is, at http://a:7400 | a http://a:7400
}

// A change of mode returns when the node has come to the state that follows from it.
func ExampleNode_ChangeMode() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	node, stop := run(coordinator.Config{ID: "a", Plane: "default", Mode: modes.Auto}, server.Node("a"))
	defer stop()
	await(node, modes.StateMaster)
	change, err := node.ChangeMode(context.Background(), modes.HotBackup)
	fmt.Println("from", change.PreviousMode, change.PreviousState, "to", change.Mode, change.State, err)
	// Output: from auto MASTER to hot_backup HOT_BACKUP <nil>
}

// A handover gives the term to another node, which has all state first.
func ExampleNode_Handover() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	a, stop := run(coordinator.Config{ID: "a", Plane: "default", Mode: modes.Auto}, server.Node("a"))
	defer stop()
	await(a, modes.StateMaster)
	b, stop := run(coordinator.Config{ID: "b", Plane: "default", Mode: modes.Auto}, server.Node("b"))
	defer stop()
	await(b, modes.StateHotStandby)
	before := a.Status().Term
	result, err := a.Handover(context.Background(), "b")
	fmt.Println(result.From, "to", result.To, "in a later term:", result.Term > before, err)
	// Output: a to b in a later term: true <nil>
}

// A status is what a node knows of itself. It costs nothing and never waits.
func ExampleStatus() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	node, stop := run(coordinator.Config{ID: "a", Plane: "default", Mode: modes.Auto, Version: "1.2.0"}, server.Node("a"))
	defer stop()
	await(node, modes.StateMaster)
	s := node.Status()
	fmt.Println(s.ID, s.Version, s.Mode, s.State, "with", s.Mirror.Count, "mementos")
	// Output: a 1.2.0 auto MASTER with 0 mementos
}
