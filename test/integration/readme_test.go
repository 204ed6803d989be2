package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// step is a command of the README and what it is shown to print.
type step struct {
	command string
	output  []string
}

// readmeSteps takes the commands out of the fenced blocks of one kind.
func readmeSteps(t *testing.T, kind string) []step {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```"+kind
		case !inside:
		case kind == "sh":
			steps = append(steps, step{command: line})
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{command: line[2:]})
		case len(steps) > 0:
			last := &steps[len(steps)-1]
			last.output = append(last.output, line)
		}
	}
	return steps
}

// What differs from run to run, and so is compared as a letter.
var varying = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`), "TIME"},
	// What a build calls itself depends on where it was made: in a clone Go makes a
	// version of the commit.
	{regexp.MustCompile(`\bdevel\b|\bv\d+\.\d+\.\d+[-+.\w]*`), "VERSION"},
	{regexp.MustCompile(`\b\d+[smhd]\b`), "AGE"},
	{regexp.MustCompile(`\d+`), "N"},
	{regexp.MustCompile(` +`), " "},
}

func shape(lines []string) string {
	var kept []string
	for _, line := range lines {
		for _, v := range varying {
			line = v.pattern.ReplaceAllString(line, v.as)
		}
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// visitor follows the README in an empty folder, on ports of its own.
type visitor struct {
	t        *testing.T
	dir      string
	env      []string
	replacer *strings.Replacer
	killed   time.Time         // when the walk-through killed the master
	states   map[string]string // what a node comes to be, by its id
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	v := &visitor{t: t, dir: t.TempDir(), states: map[string]string{"a": "MASTER", "b": "HOT_STANDBY", "c": "HOT_BACKUP"}}
	if err := os.Mkdir(filepath.Join(v.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(coordinatorBin, filepath.Join(v.dir, "bin", "coordinator")); err != nil {
		t.Fatal(err)
	}
	store, api, api1, api2 := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	v.replacer = strings.NewReplacer("127.0.0.1:2379", store, "127.0.0.1:7401", api1, "127.0.0.1:7402", api2)
	v.env = append(os.Environ(),
		"COORDINATOR_EMBED_CLIENT_URL=http://"+store, "COORDINATOR_LISTEN="+api, "COORDINATOR_SERVER=http://"+api)
	return v
}

// follow carries one step out.
func (v *visitor) follow(s step) {
	v.t.Helper()
	line := v.replacer.Replace(s.command)
	args := strings.Fields(line)
	switch {
	case args[0] == "go" && args[1] == "build": // TestMain has built the very same
		return
	case args[0] == "bin/coordinator" && (args[1] == "run" || args[1] == "store"):
		v.background(args)
		return
	case !strings.ContainsAny(line, "|$"):
		v.foreground(s, args)
	default:
		if args[0] == "kill" {
			v.killed = time.Now()
		}
		v.foreground(s, []string{"sh", "-c", line})
	}
}

// tookOver checks, by the history that the README shows, how long the plane was
// without a master after the one that was killed.
func (v *visitor) tookOver(limit time.Duration) {
	v.t.Helper()
	cmd := exec.Command(filepath.Join(v.dir, "bin", "coordinator"), "history", "-o", "json")
	cmd.Env = v.env
	out, err := cmd.Output()
	if err != nil {
		v.t.Fatal(err)
	}
	var history struct {
		Items []struct {
			Reason string
			Since  time.Time
		}
	}
	if err := json.Unmarshal(out, &history); err != nil || len(history.Items) != 3 || history.Items[0].Reason != "failover" {
		v.t.Fatalf("history %s: %v", out, err)
	}
	if took := history.Items[0].Since.Sub(v.killed); v.killed.IsZero() || took > limit {
		v.t.Errorf("a leads %s after the kill, want %s at most", took, limit)
	}
}

func (v *visitor) background(args []string) {
	v.t.Helper()
	p := &process{t: v.t, name: strings.Join(args[1:], " "), cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = v.dir, v.env
	p.cmd.Path = filepath.Join(v.dir, args[0])
	p.begin()
	if args[1] == "store" {
		eventually(v.t, maxWait, func() error {
			if p.field("store is ready", "client_url") == "" {
				return fmt.Errorf("store is not ready:\n%s", p.output())
			}
			return nil
		})
		return
	}
	eventually(v.t, maxWait, func() error {
		p.url = p.field("API is served", "advertise_url")
		return p.is(v.states[p.field("joined", "node")])
	})
}

// foreground runs a command until it prints what the README shows.
func (v *visitor) foreground(s step, args []string) {
	v.t.Helper()
	eventually(v.t, maxWait, func() error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = v.dir, v.env
		if args[0] == "bin/coordinator" {
			cmd.Path = filepath.Join(v.dir, args[0])
		}
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w", s.command, err)
		}
		if got, want := shape(strings.Split(string(out), "\n")), shape(s.output); got != want {
			return fmt.Errorf("%s\nprints\n%s\nof the shape\n%s\nthe README shows\n%s", s.command, out, got, want)
		}
		return nil
	})
}

// Promise: the walk-through of the README works as it stands there.
func TestReadme_WalkThrough(t *testing.T) {
	t.Parallel()
	steps := readmeSteps(t, "console")
	if len(steps) < 12 {
		t.Fatalf("found only %d steps in the README", len(steps))
	}
	v := newVisitor(t)
	for _, s := range steps {
		v.follow(s)
	}
	const ttl = 6 * time.Second // as the README says it is by default
	v.tookOver(ttl + time.Second + slack)
}

// Promise: the first of the README's two commands starts a node that is MASTER.
func TestReadme_FirstCommand(t *testing.T) {
	t.Parallel()
	steps := readmeSteps(t, "sh")
	if len(steps) != 2 || steps[1].command != "go test ./..." {
		t.Fatalf("the README's first screen has %v, want two commands", steps)
	}
	args := strings.Fields(steps[0].command)
	p := &process{t: t, name: steps[0].command, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Dir = "../.."
	p.cmd.Env = append(os.Environ(), "COORDINATOR_DATA_DIR="+t.TempDir(),
		"COORDINATOR_LISTEN=127.0.0.1:0", "COORDINATOR_EMBED_CLIENT_URL=http://"+freeAddress(t))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run and what it runs
	t.Cleanup(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	p.begin()
	eventually(t, 5*maxWait, func() error {
		p.url = p.field("API is served", "advertise_url")
		return p.is("MASTER")
	})
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.exit(maxWait)
}
