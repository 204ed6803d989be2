package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// What to run: a number of seeds, or one plan.
var (
	seeds  = flag.Int("seeds", 1, "how many seeds to run")
	first  = flag.Uint64("first", 1, "the first seed")
	length = flag.Duration("dur", 25*time.Second, "how long faults are injected in each run")
	one    = flag.Uint64("seed", 0, "run only this seed")
	plan   = flag.String("plan", "", "run the plan in this file")
	keep   = flag.String("keep", "", "directory in which failed runs are kept, instead of the one for temporary files")
	mutant = flag.String("mutant", "", "name of a mutant to build the nodes from")
)

// bench is shared by all runs: the programs, built once, and a context that ends when the
// test is interrupted.
type bench struct {
	ctx      context.Context
	binaries fleet.Binaries
}

var the bench

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	var stop context.CancelFunc
	the.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if testing.Short() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "fleet-bin")
	if err == nil {
		defer os.RemoveAll(dir)
		the.binaries, err = fleet.Build(the.ctx, dir, *mutant)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Promise: whatever is done to the processes of a plane, one fault after the other or
// several at once, no invariant is broken, and when all is healed the plane comes to rest.
func TestFleet_KeepsItsPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("fleets of processes are left out by -short")
	}
	if *plan != "" {
		text, err := os.ReadFile(*plan)
		if err != nil {
			t.Fatal(err)
		}
		p, err := fleet.ParsePlan(string(text))
		if err != nil {
			t.Fatal(err)
		}
		perform(t, p)
		return
	}
	from, count := *first, *seeds
	if *one != 0 {
		from, count = *one, 1
	}
	for seed := from; seed < from+uint64(count) && the.ctx.Err() == nil; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { perform(t, fleet.Draw(seed, *length)) })
	}
}

// perform runs a plan and judges the run. What a failed run leaves behind is kept.
func perform(t *testing.T, p fleet.Plan) {
	dir, err := os.MkdirTemp(*keep, fmt.Sprintf("fleet-%d-", p.Seed))
	if err != nil {
		t.Fatal(err)
	}
	defer clean(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "plan"), []byte(p.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log("plan:\n" + p.String())
	report, err := fleet.Perform(the.ctx, fleet.Config{
		Layer: "process", Dir: dir, Binaries: the.binaries, Members: make([]fleet.Place, 3), Nodes: fleet.Mixed(),
		Logger: zaptest.NewLogger(t),
	}, p, *length)
	score := judge.Score{Layer: "process", Seeds: 1, Broken: make(map[string]int)}
	if run := report.Evidence; run != nil {
		if err := run.Save(filepath.Join(dir, "evidence")); err != nil {
			t.Error(err)
		}
		verdict := judge.Check(run)
		score = judge.ScoreOf(run, verdict)
		for _, finding := range verdict.Findings {
			t.Error(finding)
		}
	}
	for _, complaint := range report.Complaints {
		t.Error(complaint)
		score.Broken["complaint"]++
	}
	if err != nil {
		t.Error(err)
		score.Broken[judge.Invalid]++
	}
	fmt.Println(score)
}

// clean removes what a run leaves behind. For a run that has failed and was not just
// interrupted it keeps evidence, logs and plan, and prints how to judge and to run it
// again.
func clean(t *testing.T, dir string) {
	if !t.Failed() || the.ctx.Err() != nil {
		os.RemoveAll(dir)
		return
	}
	os.RemoveAll(filepath.Join(dir, "etcd"))
	os.RemoveAll(filepath.Join(dir, "nodes"))
	t.Logf("judge it again: go run ./test/lab/check %s", filepath.Join(dir, "evidence"))
	t.Logf("run it again:   go test ./test/lab/fleet -count=1 -dur %s -plan %s", *length, filepath.Join(dir, "plan"))
}
