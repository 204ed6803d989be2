// Command check judges kept evidence of runs again, and prints what was broken and how much
// was checked:
//
//	go run ./test/lab/check FILE...
//
// The exit code is 1 if anything was broken or a file cannot be read to its end.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: check FILE...")
		os.Exit(2)
	}
	if err := check(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errBroken = errors.New("an invariant was broken")

// check judges every file, even if others are broken.
func check(w io.Writer, paths []string) error {
	var all error
	for _, path := range paths {
		if err := one(w, path); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", path, err))
		}
	}
	return all
}

func one(w io.Writer, path string) error {
	run, err := evidence.Load(path)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s: layer %s, seed %d\n", path, run.Layer, run.Seed); err != nil {
		return err
	}
	v := judge.Check(run)
	if err := v.Report(w); err != nil {
		return err
	}
	if len(v.Findings) > 0 {
		return errBroken
	}
	return nil
}
