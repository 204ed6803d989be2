package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coordinator-ha/coordinator/internal/certtest"
)

// certify writes certificates into the script's directory: a CA's, ca.crt, the node's, a
// client's, and a foreign one.
func certify(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: certify")
	}
	for name, pairs := range map[string][]string{"ca": {"node", "client"}, "other": {"stranger"}} {
		ca, err := certtest.NewCA(ts.MkAbs("."), name)
		ts.Check(err)
		for _, pair := range pairs {
			_, _, err := ca.Issue(certtest.Pair{Name: pair})
			ts.Check(err)
		}
	}
}

// add appends the last output to a file: add FILE.
func add(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: add FILE")
	}
	file, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	ts.Check(err)
	_, err = file.WriteString(ts.ReadFile("stdout"))
	ts.Check(err)
	ts.Check(file.Close())
}

// until repeats a command until it succeeds: until coordinator ….
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until PROGRAM ARGS")
	}
	deadline := time.After(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			ts.Fatalf("%s does not succeed: %v", strings.Join(args, " "), err)
		}
	}
}

// A command that was asked to use TLS never sends a token without it.
func TestClientAt_KeepsToTLS(t *testing.T) {
	for _, c := range []struct {
		server, uri string
		ok          bool
	}{
		{"https://a:7400", "https://b:7400", true},
		{"http://a:7400", "https://b:7400", true},
		{"http://a:7400", "http://b:7400", true},
		{"https://a:7400", "http://b:7400", false},
		{"https://a:7400", "HTTP://b:7400", false},
		{"https://a:7400", "", false},
		{"http://a:7400", "nowhere", false},
		{"http://a:7400", "http://b:7400,http://c:7400", false},
		{"https://a:7400", "https://b:7400,http://c:7400", false},
	} {
		at, err := new(operator).clientAt(c.server, c.uri)
		if (err == nil) != c.ok || err != nil && exitCode(err) != exitUsage {
			t.Errorf("from %s to %q: %v", c.server, c.uri, err)
		}
		if err == nil {
			at.Close()
		}
	}
}
