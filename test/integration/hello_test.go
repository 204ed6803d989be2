package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Promise: a program of forty lines leads, keeps typed state, serves its API, and is handed over by
// the command: what it counted goes on at the next master, and with a kill too.
func TestHello_IsOperatedAsTheDaemonIs(t *testing.T) {
	c := newCluster(t, 6*time.Second)
	bin := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-o", bin, "./examples/hello")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	hello := func(id string) *process {
		p := spawn(t, id, bin, id, freeAddress(t), c.endpoint)
		p.url = "http://" + p.cmd.Args[2]
		return p
	}
	a := hello("a")
	a.await("MASTER")
	b := hello("b")
	b.await("HOT_STANDBY")
	// count is what the typed state says at a node, once it is more than before.
	count := func(p *process, before int) (now int) {
		t.Helper()
		eventually(t, maxWait, func() error {
			resp, err := http.Get(p.url + "/v1/mementos/greetings/world")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if err := json.NewDecoder(resp.Body).Decode(&now); err != nil {
				return err
			}
			if now <= before {
				return fmt.Errorf("%s has counted %d, want more than %d", p.name, now, before)
			}
			return nil
		})
		return now
	}
	counted := count(b, 3)

	run := func(p *process, want string, args ...string) {
		t.Helper()
		code, out, stderr := command(t, append(args, "--server", p.url)...)
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("%v: exit code %d, want 0 and %q:\n%s%s", args, code, want, out, stderr)
		}
	}
	eventually(t, maxWait, func() error {
		if code, out, _ := command(t, "handover", "--dry-run", "--server", b.url); code != 0 {
			return fmt.Errorf("exit code %d: %s", code, out)
		}
		return nil
	})
	run(b, "MASTER  a", "status")
	run(b, "a handed over to b", "handover", "--to", "b")
	run(a, "MASTER  b", "status")
	counted = count(b, counted)
	run(a, strconv.Itoa(count(a, counted))[:1], "memento", "get", "greetings/world")
	run(b, "was 0, is 5", "priority", "5", "--node", "a")
	run(b, "Nothing is wrong.", "doctor")

	b.kill()
	a.await("MASTER")
	count(a, counted)
}

// The program is quoted as it is, and has at most forty lines.
func TestHello_IsQuoted(t *testing.T) {
	program, err := os.ReadFile("../../examples/hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(program), "\n"); n > 40 {
		t.Errorf("the program has %d lines, want at most 40", n)
	}
	for _, page := range []string{"README.md", "docs/LIBRARY.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		switch {
		case os.IsNotExist(err) && page != "README.md":
		case err != nil:
			t.Error(err)
		case !strings.Contains(string(text), "```go\n"+string(program)+"```\n"):
			t.Errorf("%s does not quote examples/hello/main.go as it is", page)
		}
	}
}
