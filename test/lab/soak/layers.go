package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// layer is one layer of the laboratory: a test that takes a seed and prints a score.
type layer struct {
	name  string // of its package
	seeds int    // per turn
	args  func(seed uint64, keep string) []string
	score judge.Score
	bin   string
}

var errNoLayer = errors.New("no such layer")

// choose finds layers by their names.
func choose(names []string, seeds int) ([]*layer, error) {
	known := map[string]*layer{
		"bubble": {seeds: seeds, args: func(seed uint64, keep string) []string {
			return []string{"-seeds", strconv.Itoa(seeds), "-first", strconv.FormatUint(seed, 10), "-test.artifacts", "-test.outputdir", keep}
		}},
		"fleet": {seeds: 1, args: func(seed uint64, keep string) []string {
			return []string{"-seed", strconv.FormatUint(seed, 10), "-dur", "60s", "-keep", keep}
		}},
		"network": {seeds: 1, args: func(seed uint64, keep string) []string {
			return []string{"-seed", strconv.FormatUint(seed, 10), "-rows", "all", "-keep", keep}
		}},
	}
	var all []*layer
	for _, name := range names {
		l, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%q: %w", name, errNoLayer)
		}
		l.name = name
		all = append(all, l)
	}
	return all, nil
}

// soak is one run of this command.
type soak struct {
	layers   []*layer
	seed     uint64 // of the next turn, for layers that take one seed per turn
	turns    int
	failed   int
	keep     string
	bins     string
	progress io.Writer
	began    time.Time
}

// build builds the tests of all layers once.
func (s *soak) build(ctx context.Context) (err error) {
	if s.bins, err = os.MkdirTemp("", "soak"); err != nil {
		return fmt.Errorf("make a directory for tests: %w", err)
	}
	for _, l := range s.layers {
		l.bin = filepath.Join(s.bins, l.name+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", l.bin, "./"+l.dir())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build layer %s from the project's source: %w\n%s", l.name, err, out)
		}
	}
	return nil
}

func (l *layer) dir() string { return filepath.Join("test", "lab", l.name) }

func (s *soak) clean() error {
	if err := os.RemoveAll(s.bins); err != nil {
		return fmt.Errorf("remove tests: %w", err)
	}
	return nil
}

// turn runs each layer once.
func (s *soak) turn(ctx context.Context) {
	for _, l := range s.layers {
		if ctx.Err() != nil {
			return
		}
		seed := s.seed + uint64(s.turns*l.seeds)
		began := time.Now()
		out, err := s.once(ctx, l, seed)
		scores := l.add(out)
		fmt.Fprintf(s.progress, "%s after %s: %s from seed %d took %s, %d scores\n", time.Now().UTC().Format(time.TimeOnly),
			time.Since(s.began).Round(time.Second), l.name, seed, time.Since(began).Round(time.Second), scores)
		if err != nil || scores == 0 {
			s.found(l, seed, out, err)
		}
	}
	s.turns++
}

// once runs the test of a layer, and lets it end by itself when the soak is interrupted.
func (s *soak) once(ctx context.Context, l *layer, seed uint64) ([]byte, error) {
	args := append([]string{"-test.v", "-test.timeout", "1h"}, l.args(seed, s.keep)...)
	cmd := exec.CommandContext(ctx, l.bin, args...)
	cmd.Dir = l.dir()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("run layer %s: %w", l.name, err)
	}
	return out, nil
}

// add adds the scores in a test's output, and counts them.
func (l *layer) add(out []byte) (count int) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if score, ok := judge.ParseScore(lines.Text()); ok {
			l.score.Add(score)
			count++
		}
	}
	return count
}

// found keeps the output of a failed test, and prints its end.
func (s *soak) found(l *layer, seed uint64, out []byte, err error) {
	s.failed++
	path := filepath.Join(s.keep, fmt.Sprintf("soak-%s-%d.log", l.name, seed))
	err = errors.Join(err, os.WriteFile(path, out, 0o600))
	fmt.Fprintf(s.progress, "FOUND by %s from seed %d, in %s: %v\n", l.name, seed, path, err)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") && !strings.Contains(line, "plan:") {
			fmt.Fprint(s.progress, "    ", line)
		}
	}
}
