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
	// againAfter is how long a watch that was interrupted waits before it goes on.
	againAfter = time.Second
	// silentFor is how long a watch may be silent: a node says something each ten
	// seconds.
	silentFor = 35 * time.Second
)

func newWatch(s streams) *cobra.Command {
	var from int64
	cmd := &cobra.Command{
		Use:   "watch [TYPE]",
		Short: "Show changes of mementos as they happen",
		Long: `Show each change of a memento as it happens, until interrupted: all of them, or
those of one type, after the present revision or after --from. A watch that is
interrupted goes on where it was, without losing or repeating a change; --timeout
bounds only how long it may take to begin. With -o json each revision is one line, as the API tells it.

It fails if the store no longer knows what came after --from: then list the
mementos, and watch from the revision of that listing.`,
		Example: `  coordinator memento watch
  coordinator memento watch entity --from 42 -o json`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().Int64Var(&from, "from", 0, "show what came after this revision (default: the present one)")
	return operating(s, cmd, func(_ context.Context, o *operator, args []string) error {
		w := &watch{operator: o, query: make(url.Values)}
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

// watch is one watch of mementos, over as many connections as it takes.
type watch struct {
	*operator
	query url.Values
	last  string // the id of the last event; empty before the first
}

// run shows changes until ctx ends. Only what will not change by itself ends it before:
// a node that was never reached may be a mistake in the command line, one that was
// reached may come back.
func (w *watch) run(ctx context.Context) error {
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
		fmt.Fprintf(forPeople{w.err}, "interrupted, going on after revision %s: %s\n", w.last, masked(err.Error()))
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// writeError is an output that takes no more.
type writeError struct{ error }

// Unwrap returns why.
func (e *writeError) Unwrap() error { return e.error }

// follow shows what comes over one connection until that ends.
func (w *watch) follow(ctx context.Context, c *client.Client) error {
	ctx, silence, done := stalling(ctx, w.timeout) // for the node to begin
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
		silence.limit = silentFor
		silence.moved()
		switch ev.Kind {
		case wire.EventChange:
			if err := w.show(ev.Data); err != nil {
				return err
			}
			w.last = ev.ID
		case wire.EventBookmark:
			w.last = ev.ID
		case wire.EventError: // what it says is why the node ends the stream, not what this is answered
			var p wire.Problem
			if err := json.Unmarshal(ev.Data, &p); err != nil {
				return fmt.Errorf("%w: decode the node's last word: %w", client.ErrLost, err)
			}
			return fmt.Errorf("%w: %s", client.ErrLost, p.Detail)
		}
	}
}

// show shows what happened at one revision.
func (w *watch) show(body []byte) error {
	var step wire.Step
	if err := json.Unmarshal(body, &step); err != nil {
		return fmt.Errorf("%w: decode event: %w", client.ErrLost, err)
	}
	var text []byte
	switch w.output {
	case "yaml":
		text = []byte("---\n") // a document for each
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

// stepLines shows a step to people, a line for each memento.
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
