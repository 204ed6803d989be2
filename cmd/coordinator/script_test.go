package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coordinator-ha/coordinator/internal/freeport"
)

// The scripts in testdata/script run the command as users do. This test is in package main
// because testscript runs main itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coordinator": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"STORE", "API", "API2"} {
				address, err := freeport.Address()
				if err != nil {
					return err
				}
				env.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"add":     add,
			"await":   await,
			"certify": certify,
			"exits":   exits,
			"keep":    keep,
			"repeat":  repeat,
			"until":   until,
			"waitfor": waitFor,
		},
	})
}

// await waits until a URL answers 200: await http://host:port/path.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
		ts.Check(err)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			ts.Check(resp.Body.Close())
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s does not answer 200", args[0])
		}
	}
}

// exits runs a command and checks its exit code: exits 2 coordinator ….
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = fmt.Sprint(err)
		var number int
		if _, scan := fmt.Sscanf(code, "exit status %d", &number); scan == nil {
			code = fmt.Sprint(number)
		}
	}
	if code != args[0] {
		ts.Fatalf("%v exits with %s, want %s", args[1:], code, args[0])
	}
}

// keep saves a part of the last output in a variable: keep NAME PATTERN, with one group.
func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME PATTERN")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("%s does not match, with one group, in %q", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], found[1])
}

// waitFor waits for a time: waitfor 3s.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor TIME")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	<-time.After(d)
}

// repeat writes a file that repeats one letter: repeat FILE COUNT.
func repeat(ts *testscript.TestScript, neg bool, args []string) {
	var count int
	if _, err := fmt.Sscan(args[1], &count); err != nil || neg {
		ts.Fatalf("usage: repeat FILE COUNT")
	}
	text := make([]byte, count)
	for i := range text {
		text[i] = 'x'
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}
