// The commands that change one node.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

func newMode(s streams) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "mode MODE",
		Short: "Change a node's mode",
		Long: `Change a node's mode and wait until the node is in the state that follows from it.
Modes: auto, master, standby, hot_standby, hot_backup, disabled.

The mode lasts until the node's process ends. A master that is given a standby mode
gives up its term and becomes the last choice for it; mode master is refused while
another node leads: use handover. A node that is given mode disabled leaves the plane
and is FAILED until its mode is changed again.`,
		Example: `  coordinator mode hot_backup --node b`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&node, "node", "", "id of the node (default: the node that --server names)")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		var mode modes.Mode
		if err := mode.UnmarshalText([]byte(args[0])); err != nil {
			return usageError{err}
		}
		req, err := client.JSON(http.MethodPut, wire.PathMode, wire.ModeRequest{Mode: mode.String()})
		if err != nil {
			return err
		}
		answer, err := o.doAt(ctx, node, req)
		if err != nil {
			return err
		}
		done := func(m *wire.ModeReply) bool { return m.Current.State != 0 }
		err = showDone(o, answer, done, func(w io.Writer, m *wire.ModeReply) error {
			_, err := fmt.Fprintf(w, "was %s (%s), is %s (%s)\n", m.Previous.Mode, m.Previous.State, m.Current.Mode, m.Current.State)
			return err
		})
		if err == nil && answer.Status == http.StatusAccepted {
			return pendingError{errors.New("the change is still in progress and continues: see status")}
		}
		return err
	})
}

func newPriority(s streams) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "priority N",
		Short: "Change a node's rank among candidates",
		Long: `Change a node's rank among candidates. A higher rank is preferred; the default is 0,
and negative values are allowed. The rank counts when there is no master; it never
replaces a live one. It lasts until the node's process ends.`,
		Example: `  coordinator priority 5 --node b
  coordinator priority -- -1`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&node, "node", "", "id of the node (default: the node that --server names)")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		priority, err := strconv.Atoi(args[0])
		if err != nil {
			return usageError{fmt.Errorf("priority %q: use a whole number", args[0])}
		}
		req, err := client.JSON(http.MethodPut, wire.PathPriority, wire.PriorityRequest{Priority: &priority})
		if err != nil {
			return err
		}
		answer, err := o.doAt(ctx, node, req)
		if err != nil {
			return err
		}
		done := func(p *wire.PriorityReply) bool { return p.Current == priority }
		return showDone(o, answer, done, func(w io.Writer, p *wire.PriorityReply) error {
			_, err := fmt.Fprintf(w, "was %d, is %d\n", p.Previous, p.Current)
			return err
		})
	})
}

func newLogLevel(s streams) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Show or change a node's log level",
		Long: `Show a node's log level, or change it while the node runs: debug, info, warn or error.
A change lasts until the node's process ends.`,
		Example: `  coordinator log-level
  coordinator log-level debug --node b`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&node, "node", "", "id of the node (default: the node that --server names)")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		if len(args) == 0 {
			answer, err := o.doAt(ctx, node, client.Request{Method: http.MethodGet, Path: wire.PathLogLevel})
			if err != nil {
				return err
			}
			return show(o, answer, func(w io.Writer, l *wire.LogLevel) error {
				_, err := fmt.Fprintln(w, l.Level)
				return err
			})
		}
		level, err := httpapi.ParseLevel(args[0])
		if err != nil {
			return usageError{err}
		}
		req, err := client.JSON(http.MethodPut, wire.PathLogLevel, wire.LogLevelRequest{Level: level.String()})
		if err != nil {
			return err
		}
		answer, err := o.doAt(ctx, node, req)
		if err != nil {
			return err
		}
		done := func(l *wire.LogLevelReply) bool { return l.Current == level.String() }
		return showDone(o, answer, done, func(w io.Writer, l *wire.LogLevelReply) error {
			_, err := fmt.Fprintf(w, "was %s, is %s\n", l.Previous, l.Current)
			return err
		})
	})
}
