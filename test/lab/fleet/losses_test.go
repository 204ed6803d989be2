package fleet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// Promise: whatever part of its history etcd loses while nodes and clients go on, every
// copy equals the store afterwards, and terms go on rising.
func TestFleet_PastsThatAreLost(t *testing.T) {
	seeded(t, func(t *testing.T, seed uint64, dir string) {
		ttl := 2 * time.Second
		if seed%2 == 0 {
			ttl = 6 * time.Second
		}
		found, err := fleet.LosePasts(the.ctx, fleet.Config{
			Layer: "pasts", Seed: seed, TTL: ttl, Dir: dir, Binaries: the.binaries,
			Members: make([]fleet.Place, 3), Nodes: fleet.Mixed(), Logger: zaptest.NewLogger(t),
		})
		for _, f := range found {
			t.Error(f)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// Promise: a node that etcd does not allow to write what a master has to write keeps no
// other node from leading.
func TestFleet_CandidatesThatAreDenied(t *testing.T) {
	seeded(t, func(t *testing.T, seed uint64, dir string) {
		report, err := fleet.DenyCandidates(the.ctx, fleet.Config{
			Layer: "denied", Seed: seed, TTL: 2 * time.Second, Dir: dir, Binaries: the.binaries,
			Members: make([]fleet.Place, 1), Nodes: fleet.Ranked(), Logger: zaptest.NewLogger(t),
		})
		if report.Evidence != nil {
			for _, finding := range judge.Check(report.Evidence).Findings {
				t.Error(finding)
			}
		}
		for _, complaint := range report.Complaints {
			t.Error(complaint)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// seeded runs the seeds that the flags name, in parallel: they mostly wait.
func seeded(t *testing.T, run func(t *testing.T, seed uint64, dir string)) {
	if testing.Short() || *plan != "" {
		t.Skip("fleets of processes are left out by -short, and a plan is one of another test")
	}
	t.Parallel()
	from, count := *first, *seeds
	if *one != 0 {
		from, count = *one, 1
	}
	for seed := from; seed < from+uint64(count) && the.ctx.Err() == nil; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp(*keep, fmt.Sprintf("fleet-%d-", seed))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if !t.Failed() || the.ctx.Err() != nil {
					os.RemoveAll(dir)
					return
				}
				for _, data := range []string{"etcd", "nodes", "saved"} {
					os.RemoveAll(filepath.Join(dir, data))
				}
				t.Logf("logs are in %s, again: go test ./test/lab/fleet -count=1 -run %s -seed %d", dir, t.Name(), seed)
			}()
			run(t, seed, dir)
		})
	}
}
