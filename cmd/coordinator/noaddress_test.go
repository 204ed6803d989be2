package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/internal/apiserver"
	"github.com/coordinator-ha/coordinator/modes"
)

// startEmbeddedNode runs a node as a program that embeds one does, until the test ends, and returns
// where its API listens, which it advertises or not.
func startEmbeddedNode(t *testing.T, store *memstore.Server, id string, state modes.State, advertises bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + l.Addr().String()
	cfg := coordinator.Config{ID: id, Plane: "p", Version: "1", Mode: modes.Auto}
	if advertises {
		cfg.URI = at
	}
	node, err := coordinator.New(cfg, store.Node(id))
	if err != nil {
		t.Fatal(err)
	}
	api := apiserver.New(apiserver.Config{Node: node})
	server := api.HTTPServer()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = apiserver.Serve(server, l) })
	running.Go(func() { _ = apiserver.RunNode(ctx, node, server) })
	t.Cleanup(func() { cancel(); running.Wait(); api.Close() })
	deadline := time.After(30 * time.Second)
	for node.State() != state {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s is %s, want %s", id, node.State(), state)
		}
	}
	return at
}

// Every command that needs the address of a node that advertises none says so, and what to do;
// asked where it listens, the node obeys.
func TestNoAddress_IsSaidInWords(t *testing.T) {
	store := memstore.New(20 * time.Second)
	t.Cleanup(store.Close)
	a := startEmbeddedNode(t, store, "a", modes.StateMaster, true)
	b := startEmbeddedNode(t, store, "b", modes.StateHotStandby, false)
	command := func(server string, args ...string) (int, string) {
		var out bytes.Buffer
		code := execute(t.Context(), append(args, "--server", server), streams{in: strings.NewReader("1"), out: &out, err: &out})
		return code, out.String()
	}
	const words = "advertises no address: set Config.URI / --advertise-url"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"status", 0, words},
		{"status -o json", 0, `"unreachable":"` + words},
		{"doctor", 1, words},
		{"mode hot_standby --node b", exitUsage, "node b " + words},
		{"priority 5 --node b", exitUsage, "node b " + words},
		{"log-level --node b", exitUsage, "node b " + words},
	} {
		if code, text := command(a, strings.Fields(c.args)...); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", c.args, code, c.code, c.want, text)
		}
	}
	if code, text := command(a, "doctor"); code != 1 || strings.Contains(text, "does not answer at -") {
		t.Errorf("doctor: exit code %d\n%s", code, text)
	}
	if code, text := command(b, "priority", "5"); code != 0 {
		t.Errorf("priority where b listens: exit code %d: %s", code, text)
	}

	// With b as master, what is sent to a cannot be forwarded.
	if code, text := command(a, "handover", "--to", "b"); code != 0 {
		t.Fatalf("handover: exit code %d: %s", code, text)
	}
	for _, args := range []string{"handover --to a", "handover --dry-run", "memento put note/1 -", "memento delete note/1"} {
		if code, text := command(a, strings.Fields(args)...); code == 0 || !strings.Contains(text, "node b "+words) {
			t.Errorf("%s: exit code %d, want %q:\n%s", args, code, words, text)
		}
	}
	if code, text := command(b, "handover", "--to", "a"); code != 0 {
		t.Errorf("handover where b listens: exit code %d: %s", code, text)
	}
}
