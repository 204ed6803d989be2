package coordinator_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

var update = flag.Bool("update", false, "write what happens into testdata")

// TestTranscripts runs the scenarios in testdata. Each is a text: commands, a line of
// dashes, and what happened until then, by virtual time and node. Terms are numbered in
// the order in which they began. README.txt there lists the commands.
//
// After a change on purpose run it with -update, and read the diff: it says in plain
// words what nodes do otherwise.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d transcripts: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if name == "README" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			inLab(t, func(t *testing.T, l *lab) { got = (&transcript{t: t, lab: l, began: time.Now()}).run(string(text)) })
			switch {
			case got == string(text):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s tells another story (-update rewrites it):\n%s", file, lineDiff(string(text), got))
			}
		})
	}
}

// lineDiff shows the lines of one text that are not those of the other.
func lineDiff(want, got string) string {
	var out strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		switch {
		case i < len(w) && i < len(g) && w[i] == g[i]:
		case i < len(w) && i < len(g):
			fmt.Fprintf(&out, "-%s\n+%s\n", w[i], g[i])
		case i < len(w):
			fmt.Fprintf(&out, "-%s\n", w[i])
		default:
			fmt.Fprintf(&out, "+%s\n", g[i])
		}
	}
	return out.String()
}

// transcript is a scenario that is being run.
type transcript struct {
	t      *testing.T
	lab    *lab
	began  time.Time
	told   map[*running]int // transitions of each node that are told already
	died   map[*running]time.Time
	denied map[string]bool // calls, as in "a claim"
	terms  []int64         // in the order in which they began
	events []event         // of this block
}

// event is a line of what happened.
type event struct {
	at   time.Time
	node string // empty for an answer to a command
	text string
}

const dashes = "----"

// run runs all commands and returns the text with what happened.
func (s *transcript) run(text string) string {
	s.told, s.died, s.denied = make(map[*running]int), make(map[*running]time.Time), make(map[string]bool)
	s.lab.server.Before(func(node string, call memstore.Call) error {
		if s.denied[node+" "+string(call)] {
			return errDenied
		}
		return nil
	})
	var out strings.Builder
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case line == dashes:
			out.WriteString(dashes + "\n" + s.happened())
			for i+1 < len(lines) && lines[i+1] != "" {
				i++ // what happened the last time
			}
		case line == "" || strings.HasPrefix(line, "#"):
			out.WriteString(line)
			if i+1 < len(lines) {
				out.WriteString("\n")
			}
		default:
			out.WriteString(line + "\n")
			if err := s.command(strings.Fields(line)); err != nil {
				s.say("%s: %v", line, err)
			}
		}
	}
	return out.String()
}

func (s *transcript) say(format string, args ...any) {
	s.events = append(s.events, event{time.Now(), "", fmt.Sprintf(format, args...)})
}

func (s *transcript) at(when time.Time) string {
	return fmt.Sprintf("%.1fs", float64(s.tenths(when))/10)
}

// tenths is when something happened, in tenths of a second.
func (s *transcript) tenths(when time.Time) int64 {
	return int64(when.Sub(s.began).Round(100*time.Millisecond) / (100 * time.Millisecond))
}

// ordinal says which term it is, in the order in which they began.
func (s *transcript) ordinal(term int64) string {
	history, err := s.lab.server.Node("observer").History(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range slices.Backward(history) {
		s.note(h.Term)
	}
	s.note(term) // a disabled node's is in no history
	if !slices.IsSorted(s.terms) {
		s.t.Errorf("terms do not rise: %v", s.terms)
	}
	return fmt.Sprintf("term %d", slices.Index(s.terms, term)+1)
}

func (s *transcript) note(term int64) {
	if !slices.Contains(s.terms, term) {
		s.terms = append(s.terms, term)
	}
}

// happened returns what has happened since it was last asked, and how the plane is. What
// the process of a node does that was killed has no effect and is not told.
func (s *transcript) happened() string {
	for id, n := range s.lab.nodes {
		for _, tr := range n.Transitions()[s.told[n]:] {
			s.told[n]++
			if died, dead := s.died[n]; dead && !tr.At.Before(died) {
				continue
			}
			// Whether the loop hears of the term or of the lease first is chance.
			reason := strings.TrimPrefix(tr.Reason, driver.ErrTermOver.Error()+": ")
			s.events = append(s.events, event{tr.At, id, fmt.Sprintf("%s %s -> %s: %s", id, tr.From, tr.To, reason)})
		}
	}
	slices.SortStableFunc(s.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(s.tenths(a.at), s.tenths(b.at)), cmp.Compare(min(len(b.node), 1), min(len(a.node), 1)), strings.Compare(a.node, b.node))
	})
	var out strings.Builder
	for _, e := range s.events {
		fmt.Fprintf(&out, "%6s  %s\n", s.at(e.at), e.text)
	}
	s.events = nil
	var now []string
	for _, id := range slices.Sorted(maps.Keys(s.lab.nodes)) {
		if _, alive := s.lab.plane.States()[id]; !alive {
			now = append(now, id+" dead")
			continue
		}
		st := s.lab.nodes[id].Status()
		text := fmt.Sprintf("%s %s", id, st.State)
		if st.Acting {
			text += " in " + s.ordinal(st.Term)
		}
		now = append(now, text)
	}
	fmt.Fprintf(&out, "%6s  now %s\n", s.at(time.Now()), strings.Join(now, ", "))
	return out.String()
}

// command runs one command.
func (s *transcript) command(args []string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if args[0] == "wait" {
		d, err := time.ParseDuration(args[1])
		pass(d)
		return err
	}
	if args[0] == "away" || args[0] == "full" {
		on := args[1] == "on"
		if args[0] == "away" {
			s.lab.plane.Away(on)
		} else {
			s.lab.plane.Fill(on)
		}
		return nil
	}
	if args[0] == "start" {
		return s.start(args[1], args[2:])
	}
	n := s.lab.nodes[args[1]]
	if n == nil {
		return fmt.Errorf("no node %s was started", args[1])
	}
	rest := append(args[2:], "", "")
	switch args[0] {
	case "stop":
		return n.Stop()
	case "ended":
		s.say("%s ended: %v", args[1], n.Wait())
	case "kill":
		s.died[n] = time.Now()
		n.Kill()
	case "freeze":
		n.Freeze()
	case "thaw":
		n.Thaw()
	case "partition":
		n.Partition()
	case "heal":
		n.Heal()
	case "expire":
		n.Expire()
	case "stall":
		s.lab.server.Stall(args[1], rest[0] == "on")
	case "lose":
		n.LoseAnswer(memstore.Call(rest[0]))
	case "deny":
		s.denied[args[1]+" "+rest[0]] = true
	case "allow":
		s.denied[args[1]+" "+rest[0]] = false
	default:
		return s.operate(ctx, n, args[0], rest)
	}
	return nil
}

// operate runs a command that asks something of a node.
func (s *transcript) operate(ctx context.Context, n *running, what string, args []string) error {
	switch what {
	case "put":
		_, err := n.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: rebind.Name(args[0]), Put: &rebind.Content{Payload: []byte(args[1])}}}})
		if err == nil {
			s.say("stored %s=%s through %s", args[0], args[1], n.Name())
		}
		return err
	case "read":
		r, err := n.Read()
		if err != nil {
			return err
		}
		m, err := r.View.Get(rebind.Name(args[0]))
		if err != nil {
			return err
		}
		s.say("%s reads %s=%s", n.Name(), args[0], m.Payload)
	case "handover":
		h, err := n.Handover(ctx, args[0])
		if err != nil {
			return err
		}
		s.say("%s handed over to %s in %s", h.From, h.To, s.ordinal(h.Term))
	case "mode":
		var to modes.Mode
		if err := to.UnmarshalText([]byte(args[0])); err != nil {
			return err
		}
		c, err := n.ChangeMode(ctx, to)
		if err != nil {
			return err
		}
		s.say("%s was in mode %s and is in mode %s", n.Name(), c.PreviousMode, c.Mode)
	case "pause":
		d, _ := time.ParseDuration(args[0])
		_, err := n.Pause(ctx, d)
		return err
	case "resume":
		return n.Resume(ctx)
	case "history":
		h, err := n.History(ctx)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(h) {
			s.say("%s: %s after %q, reason %s", s.ordinal(e.Term), e.Node, e.From, e.Reason)
		}
	default:
		return fmt.Errorf("no command %s", what)
	}
	return nil
}

// start starts a node; options are as in mode=auto priority=1 persist=clean version=1.2.0.
func (s *transcript) start(id string, options []string) error {
	mode := modes.Auto
	var err error
	cfg := coordinator.Config{}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "mode":
			if err = mode.UnmarshalText([]byte(value)); err != nil {
				return err
			}
		case "priority":
			if cfg.Priority, err = strconv.Atoi(value); err != nil {
				return err
			}
		case "version":
			cfg.Version = value
		case "persist":
			cfg.CleanStart, cfg.RequireState = value == "clean", value == "rebind"
		default:
			return fmt.Errorf("no option %s", key)
		}
	}
	s.lab.start(id, mode, func(c *coordinator.Config) {
		c.Priority, c.Version, c.CleanStart, c.RequireState = cfg.Priority, cfg.Version, cfg.CleanStart, cfg.RequireState
	})
	return nil
}
