// The commands that show a plane: status, history and health.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

func newStatus(s streams) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the plane: who leads, who is next, and how each node is",
		Long: `Show the plane as the node reads it from the store: the master, its successor and why,
each node's state and mode and why it could not be promoted, and the nodes that left
within the last hour. A plane without a master is not an error. "coordinator doctor"
says what is wrong and what to do about it.`,
		Example: `  coordinator status
  coordinator status --watch
  coordinator status --server http://127.0.0.1:7401 -o json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&watch, "watch", false, fmt.Sprintf("repeat every %s until interrupted", watchEvery))
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		if watch {
			return o.watchStatus(cmd.Context())
		}
		return o.status(ctx)
	})
}

// status shows the plane once.
func (o *operator) status(ctx context.Context) error {
	answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathPlane})
	if err != nil {
		return err
	}
	return show(o, answer, func(w io.Writer, p *wire.Plane) error {
		asked, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathNode})
		if err != nil {
			return err
		}
		var n wire.Node
		if err := asked.Decode(&n); err != nil {
			return err
		}
		return planeTable(w, p, &n, o.loadsOf(ctx, answer.Server, p))
	})
}

// watchEvery is how often a watched status is refreshed.
const watchEvery = 2 * time.Second

// clearScreen clears the terminal and moves to its top.
const clearScreen = "\x1b[H\x1b[2J"

// watchStatus shows the plane repeatedly until it is interrupted. A node that does not
// answer may do so later; a usage error ends the command.
func (o *operator) watchStatus(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var picture bytes.Buffer
		if isTerminal(o.out) {
			picture.WriteString(clearScreen)
		}
		at := *o
		at.out = &picture
		once, cancel := context.WithTimeout(ctx, o.timeout)
		err := at.status(once)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if exitCode(err) == exitUsage {
			return err
		}
		if o.output == "table" {
			fmt.Fprintln(&picture)
		}
		if _, err := o.out.Write(picture.Bytes()); err != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(terminalWriter{o.err}, "Error: %s\n", masked(err.Error()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// planeTable prints a plane as reported by the node asked. loads says, by node, how far
// initializing nodes have loaded.
func planeTable(w io.Writer, p *wire.Plane, asked *wire.Node, loads map[string]string) error {
	if err := columns(w, planeHead(p, asked)...); err != nil {
		return err
	}
	rows := [][]string{{"NODE", "STATE", "MODE", "PRIORITY", "VERSION", "FOR", "URL", "NOTE"}}
	for i := range p.Nodes {
		rows = append(rows, nodeRow(&p.Nodes[i], loads))
	}
	left := [][]string{{"LEFT", "HOW", "WAS", "MODE", "VERSION", "AGO", "URL"}}
	for _, l := range p.Left {
		left = append(left, []string{l.ID, string(l.How), l.Was.String(), l.Mode.String(), orDash(l.Version), age(l.At), orDash(l.URI)})
	}
	for _, table := range [][][]string{rows, left} {
		if len(table) == 1 {
			continue // only its head
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := columns(w, table...); err != nil {
			return err
		}
	}
	return nil
}

// planeHead describes the plane as a whole, and what the rows of the nodes do not say about
// the node asked.
func planeHead(p *wire.Plane, asked *wire.Node) [][]string {
	master := []string{"MASTER", "none"}
	member := false
	for _, n := range p.Nodes {
		if p.Master != nil && n.ID == *p.Master {
			master = []string{"MASTER", n.ID, fmt.Sprintf("term %d", p.Term), "for " + age(n.Since)}
		}
		member = member || n.ID == asked.ID
	}
	next := []string{"NEXT", "none"}
	if p.Next != nil {
		next = []string{"NEXT", *p.Next, p.NextWhy}
	}
	head := [][]string{{"PLANE", p.Plane, "id " + orDash(p.PlaneID), fmt.Sprintf("revision %d", p.Revision)}, master, next}
	if p.Pause != nil {
		head = append(head, []string{"PAUSED", fmt.Sprintf("%s, by %s since %s: no node is promoted automatically", pauseEnd(p.Pause), p.Pause.By, p.Pause.Since.Format(time.RFC3339))})
	}
	if s := p.ExclusiveNode(); s != nil && s.Node != "" {
		head = append(head, []string{"DISABLED", fmt.Sprintf("node %s at %s has the plane to itself: no other can join", s.Node, orDash(s.URI))})
	}
	for _, s := range p.Strays {
		head = append(head, []string{"STRAY", fmt.Sprintf("%q %s", s.Key, s.Why)})
	}
	if p.StoreError != "" {
		head = append(head, []string{"STORE", p.StoreError})
	}
	for _, note := range p.StoreNotes {
		head = append(head, []string{"NOTE", note})
	}
	if s := p.ExclusiveNode(); !member && (s == nil || s.Node != asked.ID) {
		head = append(head, []string{"ASKED", fmt.Sprintf("%s is %s in mode %s, not among the nodes below. %s", asked.ID, asked.State, asked.Mode, asked.LastError)})
	}
	if asked.Quarantined > 0 {
		head = append(head, []string{"QUARANTINE", fmt.Sprintf("%d mementos cannot be used: put or delete them to repair that%s", asked.Quarantined, firstFault(asked))})
	}
	return head
}

// firstFault names the first memento in quarantine.
func firstFault(n *wire.Node) string {
	if len(n.Quarantine) == 0 {
		return ""
	}
	return fmt.Sprintf(". The first is %s: %s", n.Quarantine[0].Name, n.Quarantine[0].Reason)
}

func nodeRow(n *wire.PlaneNode, loads map[string]string) []string {
	note := n.WhyNot
	switch load, loading := loads[n.ID]; {
	case n.State == modes.StateFailed && n.LastError != "":
		note = n.LastError
	case loading:
		note = load
	case n.LastError != "":
		note = strings.TrimPrefix(note+"; "+n.LastError, "; ")
	}
	if n.URI == "" {
		note = strings.TrimPrefix(note+"; "+wire.NoAddress, "; ")
	}
	return []string{
		n.ID, n.State.String(), n.Mode.String(), strconv.Itoa(n.Priority),
		orDash(n.Version), age(n.Since), orDash(n.URI), note,
	}
}

func newHistory(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show who led when, and why it changed",
		Args:  cobra.NoArgs,
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathHistory})
		if err != nil {
			return err
		}
		return show(o, answer, historyTable)
	})
}

// historyTable prints the terms, newest first.
func historyTable(w io.Writer, h *wire.History) error {
	rows := [][]string{{"TERM", "NODE", "FROM", "REASON", "SINCE", "GAP", "REBIND", "MEMENTOS"}}
	for _, e := range h.Items {
		gap := "-"
		if e.GapMS != nil {
			gap = fmt.Sprintf("%dms", *e.GapMS)
		}
		rows = append(rows, []string{
			strconv.FormatInt(e.Term, 10), e.Node, orDash(e.From), string(e.Reason),
			e.Since.Format(time.RFC3339), gap, fmt.Sprintf("%dms", e.RebindMS), strconv.Itoa(e.Mementos),
		})
	}
	return columns(w, rows...)
}

func newHealth(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health [live|ready|ROLE]",
		Short: "Check whether a node is live, ready or in a role",
		Long: `The exit code is 0 if the node is live, ready (the default) or in the role, 1 if it is
not, and 6 if no node answers. Roles: master, standby, hot_standby, hot_backup, hot,
readable, promotable, writable.`,
		Example: `  coordinator health
  coordinator health master`,
		Args: cobra.MaximumNArgs(1),
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		path := wire.PathReady
		switch {
		case len(args) == 0 || args[0] == "ready":
		case args[0] == "live":
			path = wire.PathLive
		case !slices.Contains(argWords["health"], args[0]):
			return usageError{fmt.Errorf("role %q: use one of %s", args[0], strings.Join(argWords["health"], ", "))}
		default:
			path = wire.PathRole + args[0]
		}
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path, Probe: true})
		if err != nil {
			return healthError(err)
		}
		return o.print(answer.Body, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "ok")
			return err
		})
	})
}

// healthError is the error for a node that does not pass, whatever reason it gives. A role
// that the node does not know is a usage error.
func healthError(err error) error {
	var problem *wire.Problem
	switch {
	case !errors.As(err, &problem):
		return err
	case problem.Status == http.StatusNotFound:
		return usageError{err}
	default:
		return errors.New(err.Error())
	}
}
