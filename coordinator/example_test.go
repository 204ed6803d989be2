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

// A config needs an id, a plane and a mode. New reports all mistakes at once.
func ExampleConfig() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	_, err := coordinator.New(coordinator.Config{ID: "a b", Plane: "default", WaitForMaster: -time.Second}, server.Node("a"))
	fmt.Println(err)

	states := make(chan coordinator.Transition, 100)
	node, stop := run(coordinator.Config{
		ID: "a", Plane: "default", Mode: modes.Auto, Priority: 10,
		Rules:   rebind.Rules{FailFast: []string{"job"}}, // a job that cannot be read ends the start
		Observe: func(t coordinator.Transition) { states <- t },
	}, server.Node("a"))
	await(node, modes.StateMaster)
	stop()
	for t := range states {
		fmt.Println(t.From, "to", t.To)
		if t.To == modes.StateTerminated {
			break
		}
	}
	// Output:
	// configuration of node: node id "a b": use 1 to 64 of A-Z a-z 0-9 . _ ~ - and more than one or two dots
	// mode mode(0) is not valid
	// wait for master -1s is negative
	// INITIALIZING to HOT_STANDBY
	// HOT_STANDBY to MASTER
	// MASTER to HOT_STANDBY
	// HOT_STANDBY to TERMINATED
}

// A leader is what a program leads with: the number of its term, the state, and writes that
// fail once the term is over.
func ExampleLeader() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	leaders := make(chan *coordinator.Leader)
	node, stop := run(coordinator.Config{
		ID: "a", Plane: "default", Mode: modes.Auto,
		Lead: func(ctx context.Context, l *coordinator.Leader) error {
			leaders <- l
			<-ctx.Done()
			return nil
		},
	}, server.Node("a"))
	defer stop()
	leader := <-leaders
	fmt.Println("its term is the node's:", leader.Term() == node.Status().Term)

	ctx, colors := context.Background(), rebind.JSON[string]("color")
	_, err := colors.Put(ctx, leader, "sky", "blue")
	sky, _ := colors.Get(leader.View(), "sky") // the view has what was committed
	fmt.Println(sky.Value, err)

	if _, err := node.ChangeMode(ctx, modes.HotBackup); err != nil { // ends the term
		fmt.Println(err)
	}
	_, err = colors.Put(ctx, leader, "sky", "grey")
	fmt.Println("after the term:", errors.Is(err, coordinator.ErrNotMaster))
	// Output:
	// its term is the node's: true
	// blue <nil>
	// after the term: true
}

// A change of mode that does not change the state tells both as they were.
func ExampleModeChange() {
	server := memstore.New(6 * time.Second)
	defer server.Close()
	node, stop := run(coordinator.Config{ID: "a", Plane: "default", Mode: modes.Auto}, server.Node("a"))
	defer stop()
	await(node, modes.StateMaster)
	var change coordinator.ModeChange
	change, err := node.ChangeMode(context.Background(), modes.Master)
	fmt.Printf("%s to %s, state %s to %s, %v\n", change.PreviousMode, change.Mode, change.PreviousState, change.State, err)
	change, err = node.ChangeMode(context.Background(), modes.Mode(99))
	fmt.Println(change == coordinator.ModeChange{}, err)
	// Output:
	// auto to master, state MASTER to MASTER, <nil>
	// true invalid: mode mode(99)
}
