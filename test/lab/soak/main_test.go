package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// pretended is a layer whose test is a script.
func pretended(t *testing.T, script string) *layer {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return &layer{name: "soak", bin: bin, seeds: 1, args: func(uint64, string) []string { return nil }}
}

// Promise: findings of a layer are kept and reported, and do not end the soak; all scores
// are added up.
func TestSoak_GoesOnAfterAFinding(t *testing.T) {
	t.Chdir("../../..")
	score := judge.Score{
		Seeds: 1, Faults: map[string]int{"kill-master": 2}, Broken: map[string]int{"I-1": 1}, Overlap: 3 * time.Microsecond,
		Failovers: map[string][]int64{"kill-master, ttl 2s": {900, 1800, 1500}},
	}
	good := pretended(t, "echo '"+score.String()+"'")
	bad := pretended(t, "echo 'x_test.go:1: I-1 at revision 7'; echo '"+score.String()+"'; exit 1")
	mute := pretended(t, "exit 0")
	var told strings.Builder
	s := &soak{layers: []*layer{good, bad, mute}, seed: 5, keep: t.TempDir(), progress: &told, began: time.Now()}
	s.turn(t.Context())
	s.turn(t.Context())
	if s.failed != 4 || good.score.Seeds != 2 || bad.score.Seeds != 2 {
		t.Errorf("%d findings, %d and %d seeds; want 4, 2 and 2:\n%s", s.failed, good.score.Seeds, bad.score.Seeds, told.String())
	}
	if !strings.Contains(told.String(), "x_test.go:1: I-1 at revision 7") {
		t.Errorf("the finding is not told:\n%s", told.String())
	}
	for _, want := range []string{
		"| seeds | 2 | 2 | 0 |", "| faults injected | 4 | 4 | 0 |", "| acting windows of two masters that overlap, µs | 6 | 6 | 0 |",
		"| writes accepted from a node that did not hold the term | 2 | 2 | 0 |",
		"| no master after kill-master, ttl 2s: times, median, p99, longest in ms | 6: 1500, 1800, 1800 | 6: 1500, 1800, 1800 | – |",
	} {
		if !strings.Contains(s.card(), want) {
			t.Errorf("card has no line %q", want)
		}
	}
	if t.Failed() {
		t.Log(s.card())
	}
}

func TestChoose_KnowsTheLayers(t *testing.T) {
	if all, err := choose([]string{"bubble", "fleet", "network"}, 3); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := choose([]string{"cellar"}, 3); !errors.Is(err, errNoLayer) {
		t.Errorf("a layer that does not exist: %v", err)
	}
	if err := run(context.Background(), []string{"-layers", "cellar"}, io.Discard, io.Discard); !errors.Is(err, errNoLayer) {
		t.Errorf("soak of a layer that does not exist: %v", err)
	}
}
