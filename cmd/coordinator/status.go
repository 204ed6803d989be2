package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

func newStatus(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the plane: who leads, who is next, and how each node is",
		Long: `Show the plane as the asked node reads it from the store: who leads, who would
take over, and of each node what it is, what it was asked to be, and why it
could not be promoted. A plane without a master is an answer, not a failure.`,
		Example: `  coordinator status
  coordinator status --server http://127.0.0.1:7401 -o json`,
		Args: cobra.NoArgs,
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathPlane})
		if err != nil {
			return err
		}
		return show(o, answer, planeTable)
	})
}

// planeTable shows a plane to people.
func planeTable(w io.Writer, p *wire.Plane) error {
	head := [][]string{{"PLANE", p.Plane, "id " + orDash(p.PlaneID), fmt.Sprintf("revision %d", p.Revision)}}
	master := []string{"MASTER", "none"}
	for _, n := range p.Nodes {
		if p.Master != nil && n.ID == *p.Master {
			master = []string{"MASTER", n.ID, fmt.Sprintf("term %d", p.Term), "for " + lasted(n.Since)}
		}
	}
	next := []string{"NEXT", "none"}
	if p.Next != nil {
		next[1] = *p.Next
	}
	head = append(head, master, next)
	if p.StoreError != "" {
		head = append(head, []string{"STORE", "does not answer, this is what was last seen: " + p.StoreError})
	}
	if err := columns(w, head...); err != nil {
		return err
	}
	rows := [][]string{{"NODE", "STATE", "MODE", "PRIORITY", "VERSION", "FOR", "URL", "NOTE"}}
	for i := range p.Nodes {
		rows = append(rows, nodeRow(&p.Nodes[i]))
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return columns(w, rows...)
}

func nodeRow(n *wire.PlaneNode) []string {
	note := n.WhyNot
	if n.State == modes.StateFailed && n.LastError != "" {
		note = n.LastError
	}
	return []string{
		n.ID, n.State.String(), n.Mode.String(), strconv.Itoa(n.Priority),
		orDash(n.Version), lasted(n.Since), orDash(n.URI), note,
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

// historyTable shows the terms to people, newest first.
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
		Short: "Tell by the exit code whether a node is live, ready or of a role",
		Long: `Exit 0 if the node is live, ready (the default) or of the role, and 1 if it is
not or does not answer. Roles: master, standby, hot_standby, hot_backup, hot,
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
		default:
			path = wire.PathRole + args[0]
		}
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path})
		if err != nil {
			return healthError(err)
		}
		return o.print(answer.Body, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "ok")
			return err
		})
	})
}

// healthError leaves only one exit code for a node that is not as asked: Docker
// knows no other. A role that does not exist is the caller's mistake.
func healthError(err error) error {
	var problem *wire.Problem
	if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
		return usageError{err}
	}
	return errors.New(err.Error())
}
