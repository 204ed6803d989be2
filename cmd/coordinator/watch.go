// The command "memento watch": changes as they happen.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

const (
	// retryAfter is how long an interrupted watch waits before it reconnects.
	retryAfter = time.Second
	// silenceLimit is how long a watch may be silent: a node sends something every ten
	// seconds.
	silenceLimit = 35 * time.Second
)

func newWatch(s streams) *cobra.Command {
	var from int64
	cmd := &cobra.Command{
		Use:   "watch [TYPE]",
		Short: "Show changes of mementos as they happen",
		Long: `Show each change of a memento as it happens, until interrupted: all changes, or those
of one type, after the current revision or after --from. An interrupted watch resumes
without losing or repeating a change; --timeout limits only how long the start may
take. With -o json each revision is one line, as the API sends it.

The command fails if the store no longer knows what came after --from: list the
mementos then, and watch from the revision of that listing.`,
		Example: `  coordinator memento watch
  coordinator memento watch entity --from 42 -o json`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().Int64Var(&from, "from", 0, "show changes after this revision (default: the current one)")
	return operating(s, cmd, func(_ context.Context, o *operator, args []string) error {
		w := &mementoWatch{operator: o, query: make(url.Values)}
		if len(args) > 0 {
			w.query.Set("type", args[0])
		}
		if cmd.Flags().Changed("from") {
			if from < 0 {
				return usageError{fmt.Errorf("from %d is negative", from)}
			}
			w.query.Set("from_revision", strconv.FormatInt(from, 10))
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return w.run(ctx)
	})
}

// mementoWatch is one watch of mementos, over as many connections as needed.
type mementoWatch struct {
	*operator
	query url.Values
	last  string // the id of the last event; empty before the first
}

// run shows changes until ctx ends. It ends earlier only for an error that will not go
// away: a node that was never reached may be a usage error, one that was reached may come
// back.
func (w *mementoWatch) run(ctx context.Context) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	for {
		err := w.follow(ctx, c)
		var refused *wire.Problem
		switch {
		case ctx.Err() != nil:
			return nil
		case w.last == "", errors.As(err, &refused) && refused.Status < http.StatusInternalServerError, errors.As(err, new(*writeError)):
			return w.explain(err)
		}
		fmt.Fprintf(terminalWriter{w.err}, "interrupted, going on after revision %s: %s\n", w.last, masked(err.Error()))
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// writeError means that the output cannot be written.
type writeError struct{ error }

// Unwrap returns the cause.
func (e *writeError) Unwrap() error { return e.error }

// follow shows what one connection sends until the connection ends.
func (w *mementoWatch) follow(ctx context.Context, c *client.Client) error {
	ctx, silence, done := withStallTimer(ctx, w.timeout) // for the stream to begin
	defer done()
	header := make(http.Header)
	if w.last != "" {
		header.Set(wire.HeaderLastEvent, w.last)
	}
	stream, err := c.Open(ctx, client.Request{Method: http.MethodGet, Path: wire.PathWatch, Query: w.query, Header: header})
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	for events := client.NewEvents(stream.Body); ; {
		ev, err := events.Next()
		if err != nil {
			return err
		}
		silence.limit = silenceLimit
		silence.progress()
		switch ev.Kind {
		case wire.EventChange:
			if err := w.show(ev.Data); err != nil {
				return err
			}
			w.last = ev.ID
		case wire.EventBookmark:
			w.last = ev.ID
		case wire.EventError: // the status of the answer was OK: the problem says why the node ends the stream
			var p wire.Problem
			if err := json.Unmarshal(ev.Data, &p); err != nil {
				return fmt.Errorf("%w: decode the node's last event: %w", client.ErrLost, err)
			}
			return fmt.Errorf("%w: %s", client.ErrLost, p.Detail)
		}
	}
}

// show prints what happened at one revision.
func (w *mementoWatch) show(body []byte) error {
	var step wire.Step
	if err := json.Unmarshal(body, &step); err != nil {
		return fmt.Errorf("%w: decode event: %w", client.ErrLost, err)
	}
	var text []byte
	switch w.output {
	case "yaml":
		text = []byte("---\n") // one document each
	case "table":
		text = []byte(printable(string(stepLines(&step))))
	}
	if _, err := w.out.Write(text); err != nil {
		return &writeError{err}
	}
	if w.output == "table" {
		return nil
	}
	if err := w.print(body, nil); err != nil {
		return &writeError{err}
	}
	return nil
}

// stepLines prints a step, one line for each memento.
func stepLines(step *wire.Step) []byte {
	var text []byte
	for _, c := range step.Changes {
		text = fmt.Appendf(text, "%-8d  %-6s  %s/%s", step.Revision, c.Op, c.Type, c.ID)
		switch {
		case c.Item != nil:
			text = fmt.Appendf(text, "  %s", size(int64(c.Size)))
		case c.Fault != "":
			text = fmt.Appendf(text, "  cannot be used: %s", c.Fault)
		}
		text = append(text, '\n')
	}
	return text
}
