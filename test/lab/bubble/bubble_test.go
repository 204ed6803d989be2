package bubble_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

var (
	seeds = flag.Int("seeds", 60, "how many seeds to run")
	first = flag.Uint64("first", 1, "the first seed")
	one   = flag.Uint64("seed", 0, "run only this seed")
)

// TestSeeds runs the plans of many seeds, each in a bubble of its own.
func TestSeeds(t *testing.T) {
	all := newSum()
	t.Cleanup(func() {
		t.Log(all)
		fmt.Println(all.score)
	})
	if *one != 0 {
		try(t, *one, all)
		return
	}
	for i := range uint64(*seeds) {
		seed := *first + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			try(t, seed, all)
		})
	}
}

// try runs the plan of one seed and judges it.
func try(t *testing.T, seed uint64, all *sum) {
	p := newPlan(seed)
	var left *evidence.Run
	var findings []string
	var told bytes.Buffer
	synctest.Test(t, func(t *testing.T) { left, findings = run(t, p, &told) })
	verdict := judge.Check(left)
	all.add(left, &verdict)
	for _, f := range verdict.Findings {
		findings = append(findings, f.String())
	}
	if len(findings) == 0 {
		return
	}
	path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("%d.evidence", seed))
	if err := errors.Join(left.Save(path), os.WriteFile(path+".log", told.Bytes(), 0o600)); err != nil {
		t.Error(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
	t.Logf("evidence: %s, and what the nodes said: %s.log\n%s", path, path, p.again())
}
