package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const port = 4000

// lab creates a wire with a server on host b, or skips the test.
func lab(t *testing.T) *Wire {
	t.Helper()
	if testing.Short() {
		t.Skip("makes namespaces")
	}
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	w, err := New(1, "a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	serve(t, w.Host("b"))
	return w
}

// serve greets each client of the host, and then echoes.
func serve(t *testing.T, h *Host) {
	t.Helper()
	var l net.Listener
	err := within(h.Namespace, func() (err error) {
		l, err = net.Listen("tcp4", ":"+strconv.Itoa(port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			group.Go(func() {
				defer context.AfterFunc(t.Context(), func() { _ = c.Close() })()
				defer c.Close()
				_, _ = c.Write([]byte("!"))
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
}

// greeted connects from a host to b and waits for the first byte.
func greeted(t *testing.T, w *Wire, from string, waitLimit time.Duration) (net.Conn, time.Duration, error) {
	t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	c, err := w.Host(from).Dial(ctx, "tcp4", netip.AddrPortFrom(w.Host("b").Address, port).String())
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(begun.Add(waitLimit))
		_, err = c.Read(make([]byte, 1))
	}
	return c, time.Since(begun), err
}

func TestWire_CarriesWhatNoRuleStops(t *testing.T) {
	w := lab(t)
	c, took, err := greeted(t, w, "a", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("greeted after %v", took)
	// A megabyte there and back, while another link delays.
	w.Link("c", "b").Set(Rule{Delay: time.Hour})
	sent := strings.Repeat("0123456789abcdef", 1<<16)
	var group sync.WaitGroup
	group.Go(func() { _, _ = io.WriteString(c, sent) })
	defer group.Wait()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != sent {
		t.Error("what came back is not what was sent")
	}
	if n := w.Link("a", "b").Counts(); n.Carried == 0 || n.Dropped+n.Delayed+n.Overflowed > 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestWire_DelaysEachWay(t *testing.T) {
	w := lab(t)
	const delay = 100 * time.Millisecond
	w.Link("a", "b").Set(Rule{Delay: delay, Jitter: delay / 10})
	w.Link("b", "a").Set(Rule{Delay: delay})
	_, took, err := greeted(t, w, "a", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// A connection takes one round trip; the greeting comes with the next message of the
	// other side.
	if took < 3*delay || took > 10*delay {
		t.Errorf("greeted after %v at %v each way", took, delay)
	}
	if n := w.Link("a", "b").Counts(); n.Delayed == 0 {
		t.Errorf("counted %+v", n)
	}
	w.Heal()
	// At most, a packet sent now waits behind those sent before.
	if _, took, err = greeted(t, w, "a", 10*time.Second); err != nil || took >= 3*delay {
		t.Errorf("healed, greeted after %v, %v", took, err)
	}
}

func TestWire_StopsOneWay(t *testing.T) {
	for _, stopped := range []ends{{"a", "b"}, {"b", "a"}} {
		t.Run(stopped.from+" to "+stopped.to, func(t *testing.T) {
			w := lab(t)
			w.Link(stopped.from, stopped.to).Set(Rule{Drop: true})
			if _, _, err := greeted(t, w, "a", 300*time.Millisecond); err == nil {
				t.Error("greeted all the same")
			}
			if n := w.Link(stopped.from, stopped.to).Counts(); n.Dropped == 0 || n.Carried != 0 {
				t.Errorf("counted %+v", n)
			}
			if n := w.Link("b", "a").Counts(); stopped.from == "a" && n != (Counts{}) {
				t.Errorf("b heard something: %+v", n)
			}
			w.Heal()
			if _, took, err := greeted(t, w, "a", 5*time.Second); err != nil {
				t.Errorf("healed, after %v: %v", took, err)
			}
		})
	}
}

func TestWire_LosesAndRepeats(t *testing.T) {
	w := lab(t)
	c, _, err := greeted(t, w, "a", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	rough := Rule{Loss: 0.3, Duplicate: 0.2, Reorder: 0.2, Delay: time.Millisecond}
	w.Set([]string{"a"}, []string{"b"}, rough)
	for range 20 {
		if _, err := c.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	n := w.Counts([]string{"a"}, []string{"b"})
	t.Logf("%+v", n)
	if n.Dropped == 0 || n.Duplicated == 0 || n.Reordered == 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestWire_RejectsAtOnce(t *testing.T) {
	w := lab(t)
	c, _, err := greeted(t, w, "a", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.Link("a", "b").Set(Rule{Reject: true, Port: port})
	begun := time.Now()
	_, _ = c.Write([]byte("word"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("on a connection: %v", err)
	}
	if _, _, err := greeted(t, w, "a", 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connecting: %v", err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("said so after %v", took)
	}
	if n := w.Link("a", "b").Counts(); n.Opening != 1 || n.Rejected < 2 {
		t.Errorf("counted %+v", n)
	}
}

func TestWire_SaysThatThereIsNoWay(t *testing.T) {
	w := lab(t)
	w.Link("a", "b").Set(Rule{Unreachable: true})
	if _, took, err := greeted(t, w, "a", 5*time.Second); !errors.Is(err, unix.EHOSTUNREACH) || took > time.Second {
		t.Errorf("connecting: %v, after %s", err, took)
	}
	if n := w.Link("a", "b").Counts(); n.Opening != 1 || n.Rejected != 1 {
		t.Errorf("counted %+v", n)
	}
}

func TestWire_MeansOnePort(t *testing.T) {
	w := lab(t)
	w.Link("a", "b").Set(Rule{Drop: true, Port: port + 1})
	if _, _, err := greeted(t, w, "a", 5*time.Second); err != nil {
		t.Errorf("on another port: %v", err)
	}
}

func TestWire_LetsTheRunnerInAlways(t *testing.T) {
	w := lab(t)
	all := []string{"a", "b", "c"}
	for _, from := range all {
		for _, to := range all {
			if from != to {
				w.Link(from, to).Set(Rule{Drop: true})
			}
		}
	}
	if _, _, err := greeted(t, w, "b", 5*time.Second); err != nil {
		t.Error(err)
	}
	at := netip.AddrPortFrom(w.Host("b").Address, port).String()
	c, err := w.Dial(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := w.Dial(t.Context(), "tcp", "192.0.2.1:1"); err == nil {
		t.Error("dialled a host that is not there")
	}
}

func TestWire_HasAnAddressForEachHost(t *testing.T) {
	if _, err := New(1, make([]string, maxHosts+1)...); err == nil {
		t.Error("more hosts than addresses")
	}
}

// onMachine lists what exists of a wire.
func onMachine(t *testing.T, number int) []string {
	t.Helper()
	var found []string
	for _, what := range [][]string{{"netns", "list"}, {"-brief", "link"}} {
		out, err := exec.Command("ip", what...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			ours, _, _ := strings.Cut(name, ".")
			if ours == wireName(number) || ours == "lw"+strconv.Itoa(number) {
				found = append(found, name)
			}
		}
	}
	return found
}

func TestWire_LeavesNothing(t *testing.T) {
	w := lab(t)
	if len(onMachine(t, w.number)) == 0 {
		t.Error("nothing is there to be left")
	}
	left := exec.Command("ip", "netns", "exec", w.Host("c").Namespace, "sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	inside(t, w.Host("c").Namespace)
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), strconv.Itoa(left.Process.Pid)) {
		t.Errorf("said of the process %d: %v", left.Process.Pid, err)
	}
	_ = left.Wait()
	if found := onMachine(t, w.number); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	w.closed = nil // the leftovers are what is tested
}

// inside waits until a process is in a namespace.
func inside(t *testing.T, space string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		out, err := exec.Command("ip", "netns", "pids", space).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no process came up")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// holder is set for a process of this test that is to be killed: it holds a wire.
const holder = "WIRE_HOLDER"

func TestWire_SweepsAfterAKilledRun(t *testing.T) {
	w := lab(t)
	if os.Getenv(holder) != "" {
		fmt.Println(w.number)
		<-t.Context().Done()
	}
	run := exec.Command(os.Args[0], "-test.run", "^TestWire_SweepsAfterAKilledRun$")
	run.Env = append(os.Environ(), holder+"=1")
	out, err := run.StdoutPipe()
	if err == nil {
		err = run.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Wait() }()
	defer func() { _ = run.Process.Kill() }()
	var number int
	if _, err := fmt.Fscan(out, &number); err != nil {
		t.Fatal(err)
	}
	left := exec.Command("ip", "netns", "exec", namespace(number, "a"), "sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	inside(t, namespace(number, "a"))
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if len(onMachine(t, number)) != 3 {
		t.Error("swept away what is in use")
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if found := onMachine(t, number); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	if err := left.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	if _, _, err := greeted(t, w, "a", 5*time.Second); err != nil {
		t.Errorf("the wire in use: %v", err)
	}
}
