package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/fleet"
)

// bench is what all tests share: the programs, built once, and the end of the run if
// it is interrupted.
type bench struct {
	ctx      context.Context
	binaries fleet.Binaries
}

var the bench

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Println("fleets of processes are left out by -short")
		return 0
	}
	var stop context.CancelFunc
	the.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "fleet-bin")
	if err == nil {
		defer os.RemoveAll(dir)
		the.binaries, err = fleet.Build(the.ctx, dir, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestFleet_Starts(t *testing.T) {
	f, err := fleet.Start(the.ctx, fleet.Config{
		Layer: "process", Dir: t.TempDir(), Binaries: the.binaries, TTL: 2 * time.Second,
		Members: make([]fleet.Place, 3),
		Nodes:   []fleet.NodeConfig{{ID: "a", Mode: "auto"}, {ID: "b", Mode: "hot_standby"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	master, err := f.AwaitMaster(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Process().Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := f.AwaitMaster(t.Context(), time.Minute)
	if err != nil || other == master {
		t.Fatalf("%v leads although %s is frozen, %v", other, master.ID, err)
	}
	if err := master.Process().Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
}
