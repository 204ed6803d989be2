package network_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
	"github.com/coordinator-ha/coordinator/test/lab/network"
	"github.com/coordinator-ha/coordinator/test/lab/wire"
)

// Command line of the tests.
var (
	numbers = flag.String("rows", "", "rows of the fault matrix to run, such as 15,17, or all; by default the main ones")
	seed    = flag.Uint64("seed", 1, "seed of all random choices")
	keep    = flag.String("keep", "", "directory in which failed runs are kept, instead of the one for temporary files")
	mutant  = flag.String("mutant", "", "name of a mutant to build the nodes from")
)

// bench is shared by all tests: the programs, built once, and the end of the run if it is
// interrupted.
type bench struct {
	ctx      context.Context
	binaries fleet.Binaries
}

var the bench

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Println("planes in namespaces are left out by -short")
		return 0
	}
	if err := wire.Possible(); err != nil {
		fmt.Println("NOT RUN: rows of the network:", err)
		return 0
	}
	var stop context.CancelFunc
	the.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "network-bin")
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

// leastRate is how many writes per second must have been acknowledged over a run in which
// the master that clients wait for is cut off most of the time.
const leastRate = 2

// chosen are the rows to run, by the TTL of their plane.
func chosen(t *testing.T) map[time.Duration][]*network.Row {
	t.Helper()
	wanted, found := make(map[int]bool), make(map[int]bool)
	if *numbers != "all" && *numbers != "" {
		for field := range strings.SplitSeq(*numbers, ",") {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("-rows: %v", err)
			}
			wanted[n] = true
		}
	}
	rows := make(map[time.Duration][]*network.Row)
	for _, r := range network.Rows() {
		if wanted[r.Number] || *numbers == "all" || *numbers == "" && r.Main {
			rows[r.TTL] = append(rows[r.TTL], r)
			found[r.Number] = true
		}
	}
	for n := range wanted {
		if !found[n] {
			t.Fatalf("-rows: there is no row %d", n)
		}
	}
	return rows
}

// Promise: whatever the network does to a plane, no invariant is broken, the required
// effects are seen in time, and when the network is healed the plane comes to rest.
func TestNetwork_BreaksNoPromise(t *testing.T) {
	for ttl, rows := range chosen(t) {
		t.Run("ttl "+ttl.String(), func(t *testing.T) {
			t.Parallel()
			for _, r := range perform(t, network.Config{TTL: ttl}, rows) {
				if r.Err != nil {
					t.Errorf("row %d, %s: %v", r.Row.Number, r.Row.What, r.Err)
				}
			}
		})
	}
}

// A row that cannot fail shows nothing: with rules that do nothing every row fails.
func TestNetwork_NoticesAFaultThatDoesNotHappen(t *testing.T) {
	const ttl = 2 * time.Second
	quick := slices.DeleteFunc(network.Rows(), func(r *network.Row) bool { return r.TTL != ttl || !r.Main })
	for _, r := range perform(t, network.Config{TTL: ttl, Blunt: true}, quick) {
		if r.Err == nil {
			t.Errorf("row %d, %s passes", r.Row.Number, r.Row.What)
		}
		t.Logf("row %d, %s: %v", r.Row.Number, r.Row.What, r.Err)
	}
}

// perform runs rows on one plane, one after the other, and judges the whole run.
func perform(t *testing.T, cfg network.Config, rows []*network.Row) (results []network.Result) {
	dir, err := os.MkdirTemp(*keep, fmt.Sprintf("network-%d-%s-", *seed, cfg.TTL))
	if err != nil {
		t.Fatal(err)
	}
	defer clean(t, dir)
	cfg.Seed, cfg.Dir, cfg.Binaries = *seed, dir, the.binaries
	p, err := network.Start(the.ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	p.Work(the.ctx)
	for _, row := range rows {
		r := p.Run(the.ctx, row)
		t.Logf("row %d, %s, took %s: %s", row.Number, row.What, r.Took.Round(time.Millisecond), strings.Join(r.Notes, "; "))
		results = append(results, r)
	}
	report, err := p.Finish(the.ctx)
	if err != nil {
		t.Error(err)
	}
	judged(t, report, filepath.Join(dir, "evidence"))
	return results
}

// judged judges a run and prints its score.
func judged(t *testing.T, report fleet.Report, path string) {
	run := report.Evidence
	run.Enough = leastRate * int(lasted(run)/time.Second)
	if err := run.Save(path); err != nil {
		t.Error(err)
	}
	for _, line := range network.Figures(run) {
		t.Log(line)
	}
	if err := network.TooQuiet(run); err != nil {
		t.Error(err)
	}
	verdict := judge.Check(run)
	score := judge.ScoreOf(run, verdict)
	for _, finding := range verdict.Findings {
		t.Error(finding)
	}
	for _, complaint := range report.Complaints {
		t.Error(complaint)
		score.Broken["complaint"]++
	}
	fmt.Println(score)
}

// lasted is how long clients were at work.
func lasted(run *evidence.Run) (end time.Duration) {
	for i := range run.Ops {
		end = max(end, run.Ops[i].Answered)
	}
	return end
}

// clean removes what a run leaves behind. For a run that has failed and was not just
// interrupted it keeps evidence and logs, and prints how to judge it again.
func clean(t *testing.T, dir string) {
	if !t.Failed() || the.ctx.Err() != nil {
		os.RemoveAll(dir)
		return
	}
	os.RemoveAll(filepath.Join(dir, "etcd"))
	os.RemoveAll(filepath.Join(dir, "nodes"))
	t.Logf("judge it again: go run ./test/lab/check %s", filepath.Join(dir, "evidence"))
}
