// The commands that change a plane.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

func newHandover(s streams) *cobra.Command {
	var want wire.HandoverRequest
	cmd := &cobra.Command{
		Use:   "handover",
		Short: "Hand mastership over to another node",
		Long: `Hand mastership over to a node, or to the best candidate, and wait until that node has
announced itself. The current master leads until then, and keeps leading if the
handover fails. Writes wait meanwhile.

With --dry-run nothing is changed: everything that the handover depends on is checked,
and the exit code is 3 if a check fails.`,
		Example: `  coordinator handover --to b --dry-run
  coordinator handover --to b`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&want.To, "to", "", "id of the node that is to lead (default: the best candidate)")
	cmd.Flags().BoolVar(&want.DryRun, "dry-run", false, "check everything that the handover depends on, and change nothing")
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		req, err := client.JSON(http.MethodPost, wire.PathHandover, want)
		if err != nil {
			return err
		}
		req.ReadOnly = want.DryRun
		answer, err := o.do(ctx, req)
		switch {
		case err != nil:
			return err
		case want.DryRun:
			return showDryRun(o, answer)
		}
		done := func(h *wire.HandoverReply) bool { return h.To != "" && h.Term > 0 }
		return showDone(o, answer, done, func(w io.Writer, h *wire.HandoverReply) error {
			_, err := fmt.Fprintf(w, "%s handed over to %s, which leads term %d after %dms\n", h.From, h.To, h.Term, h.DurationMS)
			return err
		})
	})
}

// errWouldFail is the error of a dry run with a failed check.
var errWouldFail = fmt.Errorf("%w: the handover would not succeed", driver.ErrRefused)

// showDryRun prints the checks of a dry run, and fails if one of them does.
func showDryRun(o *operator, answer *client.Answer) error {
	var r wire.DryRunReply
	if err := answer.Decode(&r); err != nil {
		return err
	}
	err := o.print(answer.Body, func(w io.Writer) error {
		rows := [][]string{{"CHECK", "RESULT", "REASON"}}
		for _, c := range r.Checks {
			rows = append(rows, []string{c.Name, result(c.OK), c.Reason})
		}
		return columns(w, rows...)
	})
	if err == nil && !r.OK {
		err = errWouldFail
	}
	return err
}

// result is how the result of a check is printed.
func result(ok bool) string {
	if ok {
		return "ok"
	}
	return "FAILS"
}

func newPause(s streams) *cobra.Command {
	var lasting time.Duration
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Pause automatic promotion",
		Long: `Stop all nodes from being promoted automatically, until "coordinator resume" or for a
time. The current master stays. While the plane is paused, a master that stops hands
nothing over, and one that loses its term does not take it back: there is then no
master. "handover" and "mode master" still work.`,
		Example: `  coordinator pause --for 10m
  coordinator resume`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().DurationVar(&lasting, "for", 0, "when the pause ends by itself (default: never, only by \"coordinator resume\")")
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		if cmd.Flags().Changed("for") && lasting < time.Millisecond {
			return usageError{fmt.Errorf("for %s: use a positive time, or leave it out to pause until \"coordinator resume\"", lasting)}
		}
		answer, err := o.post(ctx, wire.PathPause, wire.PauseRequest{ForMS: lasting.Milliseconds()})
		if err != nil {
			return err
		}
		done := func(p *wire.PauseReply) bool { return p.Paused && p.Pause != nil }
		return showDone(o, answer, done, func(w io.Writer, p *wire.PauseReply) error {
			_, err := fmt.Fprintf(w, "automatic promotion is paused %s\n", pauseEnd(p.Pause))
			return err
		})
	})
}

// pauseEnd says when a pause ends.
func pauseEnd(p *driver.Pause) string {
	if p.Until == nil {
		return "until \"coordinator resume\""
	}
	return fmt.Sprintf("until %s, for another %s", p.Until.Format(time.RFC3339), max(time.Until(*p.Until), 0).Round(time.Second))
}

func newResume(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		Long:  `End a pause: nodes are promoted automatically again.`,
		Args:  cobra.NoArgs,
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		answer, err := o.post(ctx, wire.PathResume, struct{}{})
		if err != nil {
			return err
		}
		var reply map[string]any // a false must not mean that the field is missing
		done := func(p *wire.PauseReply) bool {
			return !p.Paused && p.Pause == nil && answer.Decode(&reply) == nil && reply["paused"] != nil
		}
		return showDone(o, answer, done, func(w io.Writer, _ *wire.PauseReply) error {
			_, err := fmt.Fprintln(w, "automatic promotion is not paused")
			return err
		})
	})
}

func newForget(s streams) *cobra.Command {
	var dead bool
	cmd := &cobra.Command{
		Use:   "forget NODE | --dead",
		Short: "Forget a node that has left",
		Long: `Forget a node that stopped or vanished, or all such nodes, so that status no longer
lists them. Without this each is forgotten after an hour. A live node is refused: it
would come back at once.`,
		Example: `  coordinator forget b
  coordinator forget --dead`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&dead, "dead", false, "forget all nodes that have left")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		switch {
		case dead == (len(args) == 1):
			return usageError{errors.New("name one node, or use --dead for all that have left")}
		case dead:
			return o.forgetDead(ctx)
		}
		if err := driver.CheckNode(args[0]); err != nil {
			return usageError{err}
		}
		return o.forget(ctx, args[0])
	})
}

// forget forgets one node.
func (o *operator) forget(ctx context.Context, id string) error {
	answer, err := o.do(ctx, client.Request{Method: http.MethodDelete, Path: wire.PathLeft + "/" + id})
	if err != nil {
		return err
	}
	done := func(f *wire.ForgetReply) bool { return f.Forgotten == id }
	return showDone(o, answer, done, func(w io.Writer, f *wire.ForgetReply) error {
		_, err := fmt.Fprintf(w, "%s is forgotten\n", f.Forgotten)
		return err
	})
}

// forgetDead forgets all nodes that have left. A node that returns meanwhile, or is
// forgotten by somebody else, is skipped.
func (o *operator) forgetDead(ctx context.Context) error {
	answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathPlane})
	if err != nil {
		return err
	}
	var plane wire.Plane
	if err := answer.Decode(&plane); err != nil {
		return err
	}
	for _, l := range plane.Left {
		err := o.forget(ctx, l.ID)
		var p *wire.Problem
		if errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("forget %s: %w", l.ID, err)
		}
	}
	return nil
}
