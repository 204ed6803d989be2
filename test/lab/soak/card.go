package main

import (
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// row is one line of the score card: a figure, and how to compute it from a score.
type row struct {
	name string
	read func(judge.Score) string
}

// rows are the figures that every layer has.
func rows() []row {
	return []row{
		{"seeds", func(s judge.Score) string { return fmt.Sprint(s.Seeds) }},
		{"hours, by the plane's clock", func(s judge.Score) string { return fmt.Sprintf("%.2f", s.Harmed.Hours()) }},
		{"kinds of faults", func(s judge.Score) string { return fmt.Sprint(len(s.Faults)) }},
		{"faults injected", func(s judge.Score) string { return fmt.Sprint(sum(maps.Values(s.Faults))) }},
		{"times the machine itself stood still", func(s judge.Score) string { return fmt.Sprint(s.Stalls) }},
		{"terms", func(s judge.Score) string { return fmt.Sprint(s.Terms) }},
		{"operations judged", func(s judge.Score) string { return fmt.Sprint(s.Operations) }},
		{"histories judged for linearizability, with operations", func(s judge.Score) string { return fmt.Sprintf("%d, %d", s.Histories, s.Linear) }},
		{"histories or answers that nothing explains, acknowledged writes lost or reverted", broken("I-6", "I-7")},
		{"writes applied although refused, or twice", broken("I-8")},
		{"writes accepted from a node that did not hold the term", broken("I-1", "I-4")},
		{"acting windows of two masters that overlap, µs", func(s judge.Score) string { return fmt.Sprint(s.Overlap.Microseconds()) }},
		{"masters that acted beyond their lease", broken("I-9")},
		{"torn batches", broken("I-14")},
		{"copies and reads compared with the store, byte for byte", func(s judge.Score) string { return fmt.Sprint(s.Copies) }},
		{"copies and reads that differ, or go back", broken("I-12", "I-13")},
		{"changes of master that no fault explains", broken("I-33")},
		{"planes that did not come to rest in time", broken("I-28", "I-34")},
		{"findings, all in all", func(s judge.Score) string { return fmt.Sprint(sum(maps.Values(s.Broken))) }},
	}
}

// broken counts the findings about some invariants.
func broken(invariants ...string) func(judge.Score) string {
	return func(s judge.Score) string {
		n := 0
		for _, i := range invariants {
			n += s.Broken[i]
		}
		return fmt.Sprint(n)
	}
}

func sum(all func(func(int) bool)) (n int) {
	for i := range all {
		n += i
	}
	return n
}

// card is the score card, as Markdown.
func (s *soak) card() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Commit %s, %s, %d processors, %s: %s.\n\n", commit(), s.began.UTC().Format(time.DateOnly),
		runtime.NumCPU(), runtime.Version(), time.Since(s.began).Round(time.Second))
	fmt.Fprint(&b, "| figure |")
	for _, l := range s.layers {
		fmt.Fprintf(&b, " %s |", l.name)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(s.layers)))
	for _, r := range slices.Concat(rows(), s.times()) {
		fmt.Fprintf(&b, "| %s |", r.name)
		for _, l := range s.layers {
			fmt.Fprintf(&b, " %s |", r.read(l.score))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// times are the times without a master, by fault, for kills and handovers.
func (s *soak) times() (all []row) {
	kinds := make(map[string]bool)
	for _, l := range s.layers {
		for kind := range l.score.Failovers {
			if strings.HasPrefix(kind, "kill-") || strings.HasPrefix(kind, "handover") {
				kinds[kind] = true
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, row{"no master after " + kind + ": times, median, p99, longest in ms", func(s judge.Score) string {
			took := slices.Sorted(slices.Values(s.Failovers[kind]))
			if len(took) == 0 {
				return "–"
			}
			return fmt.Sprintf("%d: %d, %d, %d", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		}})
	}
	return all
}

// commit names the tested revision.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
