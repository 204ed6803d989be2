// Command table runs the benchmarks of package bench and prints, for each promise of the
// specification, what was measured with plain etcd and with the library, and whether the
// target is met.
//
//	go run ./bench/table            # a few minutes; BENCH_MEMENTOS=100000 for less
//	go run ./bench/table -rounds 9
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// target is the target for one figure of a benchmark.
type target struct {
	benchmark string // as go test prints it, without the number of processors
	figure    string // a metric's unit
	what      string
	unit      string
	want      string
	met       func(figure float64) bool // nil if there is no target
}

func atLeast(limit float64) func(float64) bool { return func(f float64) bool { return f >= limit } }
func atMost(limit float64) func(float64) bool  { return func(f float64) bool { return f <= limit } }

// targets lists the rows of the table.
func targets() []target {
	return []target{
		{"BenchmarkFailover", "beyond-s", "failover after kill -9, beyond etcd's own expiry", "s", "≤ 0.1 s", atMost(0.1)},
		{"BenchmarkRestart", "ours", "restart from its own data directory, beyond process start", "s", "< 1 s", atMost(1)},
		{"BenchmarkHandover", "ratio", "handover, last old to first new write, p50", "ms", "≤ 3 ×", atMost(3)},
		{"BenchmarkHandover", "p99-ms", "handover, p99", "ms", "< 25 ms", atMost(25)},
		{"BenchmarkPromotion", "ratio", "promotion of a hot node, a thousand and a million mementos", "ms", "≤ 1.5 ×", atMost(1.5)},
		{"BenchmarkLoad", "ratio", "mirror load", "mementos/s", "≥ 1.0 ×", atLeast(1)},
		{"BenchmarkLag", "beyond-ms", "mirror lag at 1,000 writes/s, p99, beyond a bare watch", "ms", "≤ 1 ms", atMost(1)},
		{"BenchmarkMemory", "ratio", "live heap of a mirror over its keys and payloads", "B", "≤ 1.4 ×", atMost(1.4)},
		{"BenchmarkBusy", "resident-ratio", "resident memory over keys and payloads, under 10,000 updates a second", "B", "≤ 2 ×", atMost(2)},
		{"BenchmarkRead", "ns/op", "local read by id, at random", "ns", "< 1000 ns", atMost(1000)},
		{"BenchmarkRead", "allocs/op", "allocations of a local read", "", "0", atMost(0)},
		{"BenchmarkWrite/writers=1", "ratio", "fenced single writes, 1 writer", "writes/s", "≥ 0.9 ×", atLeast(0.9)},
		{"BenchmarkFence", "ratio", "the same by a bare client, the most that one writer can have", "writes/s", "", nil},
		{"BenchmarkWrite/writers=16", "ratio", "fenced single writes, 16 writers", "writes/s", "≥ 1.0 ×", atLeast(1)},
		{"BenchmarkWrite/writers=128", "ratio", "fenced single writes, 128 writers", "writes/s", "≥ 1.6 ×", atLeast(1.6)},
		{"BenchmarkWrite/writers=1024", "ratio", "fenced single writes, 1,024 writers", "writes/s", "≥ 2 ×", atLeast(2)},
		{"BenchmarkDelta", "ratio", "fenced deltas of 100 operations, 128 writers", "operations/s", "≥ 3 ×", atLeast(3)},
		{"BenchmarkQuarantine/livez", "ratio", "`/livez`, with 100,000 mementos in quarantine and without", "1/s", "≥ 0.5 ×", atLeast(0.5)},
		{"BenchmarkQuarantine/read", "ratio", "API read by id, with 100,000 mementos in quarantine and without", "1/s", "≥ 0.5 ×", atLeast(0.5)},
		{"BenchmarkQuarantine/write", "ratio", "fenced writes, with 100,000 mementos in quarantine and without", "1/s", "≥ 0.5 ×", atLeast(0.5)},
		{"BenchmarkIdle", "ours", "revisions of an idle plane", "", "0", atMost(0)},
		{"BenchmarkPlane/nodes=200", "start-s", "200 nodes start at once, until all stand by", "s", "< 10 s", atMost(10)},
		{"BenchmarkPlane/nodes=200", "start-events-growth", "events sent at that, a node's share beside 50 nodes'", "", "≤ 1.5 ×", atMost(1.5)},
		{"BenchmarkPlane/nodes=200", "failover-s", "failover among 200 nodes, once the lease is gone", "s", "< 2 s", atMost(2)},
		{"BenchmarkPlane/nodes=200", "failover-events-growth", "events sent at that, a node's share beside 50 nodes'", "", "≤ 1.5 ×", atMost(1.5)},
		{"BenchmarkPlane/nodes=200", "idle-revisions", "revisions of an idle plane of 200 nodes", "", "0", atMost(0)},
	}
}

func main() {
	rounds := flag.Int("rounds", 5, "rounds of each benchmark; the table shows the medians")
	only := flag.String("bench", ".", "which benchmarks to run, as for go test")
	flag.Parse()
	if err := run(*rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(rounds int, only string) error {
	var out bytes.Buffer
	for _, part := range []struct{ bench, time string }{
		{"^BenchmarkRead$", "3s"},
		{"^Benchmark(Write|Fence|Delta|Load|Memory|Promotion|Handover|Lag|Busy|Failover|Restart|Idle)$", fmt.Sprintf("%dx", rounds)},
		{"^BenchmarkPlane$", "1x"},
	} {
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", part.bench, "-benchtime", part.time, "-timeout", "60m", "./bench")
		if only != "." {
			cmd.Args[5] = only
		}
		cmd.Stdout = io.MultiWriter(&out, os.Stderr)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run benchmarks: %w", err)
		}
		if only != "." {
			break
		}
	}
	return print(os.Stdout, parse(&out))
}

// parse reads a line of go test: a name, the number of rounds, then figures with their
// units.
func parse(out io.Reader) map[string]map[string]float64 {
	found := make(map[string]map[string]float64)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimSuffix(fields[0], fmt.Sprintf("-%d", runtime.GOMAXPROCS(0)))
		figures := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			if f, err := strconv.ParseFloat(fields[i], 64); err == nil {
				figures[fields[i+1]] = f
			}
		}
		found[name] = figures
	}
	return found
}

func print(to io.Writer, found map[string]map[string]float64) error {
	t := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintf(t, "%s, %d processors, %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	fmt.Fprintln(t, "| what\t| bare\t| ours\t| figure\t| target\t| met\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, want := range targets() {
		figures, ok := found[want.benchmark]
		if !ok {
			continue
		}
		figure := figures[want.figure]
		met := "yes"
		switch {
		case want.met == nil:
			met = ""
		case !want.met(figure):
			met = "MISSED"
		}
		fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n",
			want.what, amount(figures, "bare", want.unit), amount(figures, "ours", want.unit), short(figure), want.want, met)
	}
	return t.Flush()
}

func amount(figures map[string]float64, side, unit string) string {
	f, ok := figures[side]
	if !ok {
		return ""
	}
	return strings.TrimSpace(short(f) + " " + unit)
}

// short formats a number with three significant digits.
func short(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	default:
		return strconv.FormatFloat(f, 'g', 3, 64)
	}
}
