// Command soak runs the layers of the fault laboratory in turn, one seed after the other,
// until its time is over, and prints the score card of all findings.
//
//	go run ./test/lab/soak -dur 2h
//
// The soak keeps and reports what a layer finds, and goes on; it then exits with an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var errFound = errors.New("something was found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(progress)
	length := flags.Duration("dur", 10*time.Minute, "how long to run; a turn that has begun ends first")
	seeds := flags.Int("seeds", 200, "seeds in virtual time per turn, next to one in real time")
	first := flags.Uint64("first", 1, "the first seed of each layer")
	layers := flags.String("layers", "bubble,fleet,network", "which layers to run")
	keep := flags.String("keep", os.TempDir(), "directory in which failures are kept")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read arguments: %w", err)
	}
	all, err := choose(strings.Split(*layers, ","), *seeds)
	if err != nil {
		return err
	}
	s := &soak{layers: all, seed: *first, keep: *keep, progress: progress, began: time.Now()}
	if err := s.build(ctx); err != nil {
		return errors.Join(err, s.clean())
	}
	for ctx.Err() == nil && (s.turns == 0 || time.Since(s.began) < *length) {
		s.turn(ctx)
	}
	fmt.Fprint(out, s.card())
	err = s.clean()
	if s.failed > 0 {
		err = errors.Join(err, errFound)
	}
	return err
}
