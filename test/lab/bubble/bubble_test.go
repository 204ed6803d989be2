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
	seeds = flag.Int("seeds", 60, "how many seeds are run")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "run this seed alone, and tell what its nodes do")
)

// TestSeeds runs plans of many seeds, each in a bubble of its own.
func TestSeeds(t *testing.T) {
	if *one != 0 {
		try(t, *one)
		return
	}
	for i := range uint64(*seeds) {
		seed := *first + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			try(t, seed)
		})
	}
}

// try runs the plan of one seed and judges it.
func try(t *testing.T, seed uint64) {
	p := newPlan(seed)
	var left *evidence.Run
	var findings []string
	var told bytes.Buffer
	synctest.Test(t, func(t *testing.T) { left, findings = run(t, p, &told) })
	findings = append(findings, judged(left)...)
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
	t.Logf("again: go test ./test/lab/bubble -run TestSeeds -seed %d\nevidence: %s\n%s", seed, path, p)
}

// judged is what the judge finds.
func judged(left *evidence.Run) []string {
	var findings []string
	for _, f := range judge.Check(left).Findings {
		findings = append(findings, f.String())
	}
	return findings
}
