package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// operator is what all commands share that talk to a node's API.
type operator struct {
	streams
	server  string
	timeout time.Duration
	output  string
}

const defaultServer = "http://127.0.0.1:7400"

var (
	// errNoNode is returned for a node that is not in the plane.
	errNoNode = errors.New("no such live node")
	// errLostWrite is returned for a write whose answer did not come.
	errLostWrite = errors.New("outcome unknown: it may have taken effect, look before you try again")
)

// askFlags are the flags that say whom to ask and how to print the answer.
var askFlags = []string{"server", "timeout", "output"}

// flags adds the flags of a command that talks to a node.
func (o *operator) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.server, "server", defaultServer, "URL of a node's API")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table, json or yaml; json is the API's answer as it came")
}

// operating makes a command that talks to a node.
func operating(s streams, cmd *cobra.Command, run func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	o := &operator{streams: s}
	o.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.checkOutput(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		return run(ctx, o, args)
	}
	return cmd
}

// checkOutput tells whether an answer can be waited for and printed as it is to be.
func (o *operator) checkOutput() error {
	switch o.output {
	case "table", "json", "yaml":
	default:
		return usageError{fmt.Errorf("output %q: use table, json or yaml", o.output)}
	}
	if o.timeout <= 0 {
		return usageError{fmt.Errorf("timeout %s: use a positive time", o.timeout)}
	}
	return nil
}

// client makes the client for the node that is asked.
func (o *operator) client() (*client.Client, error) {
	c, err := client.New(o.server)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// do sends a request to the node that is asked.
func (o *operator) do(ctx context.Context, r client.Request) (*client.Answer, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(ctx, r)
	return answer, explain(r.Method, o.server, err)
}

// post sends v to the node that is asked.
func (o *operator) post(ctx context.Context, path string, v any) (*client.Answer, error) {
	req, err := client.JSON(http.MethodPost, path, v)
	if err != nil {
		return nil, err
	}
	return o.do(ctx, req)
}

// doAt sends a request to the node of that id, whose address the plane knows.
func (o *operator) doAt(ctx context.Context, node string, r client.Request) (*client.Answer, error) {
	if node == "" {
		return o.do(ctx, r)
	}
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	var plane wire.Plane
	if err := c.Get(ctx, wire.PathPlane, &plane); err != nil {
		return nil, explain(http.MethodGet, o.server, err)
	}
	for _, n := range plane.Nodes {
		if n.ID == node {
			at := *o
			at.server = n.URI
			return at.do(ctx, r)
		}
	}
	return nil, fmt.Errorf("%w: %s", errNoNode, node)
}

// explain tells what a failure means for what was asked.
func explain(method, server string, err error) error {
	write := method != http.MethodGet
	switch {
	case err == nil:
		return nil
	case write && errors.Is(err, client.ErrLost):
		return fmt.Errorf("%w: %w", errLostWrite, err)
	case errors.Is(err, client.ErrUnreachable):
		return fmt.Errorf("%w: is a node running at %s? name another with --server", err, server)
	default:
		return err
	}
}

// print writes an answer: its body for programs, or the table for people.
func (o *operator) print(body []byte, table func(w io.Writer) error) error {
	switch o.output {
	case "json":
		_, err := fmt.Fprintf(o.out, "%s\n", bytes.TrimSpace(body))
		return err
	case "yaml":
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			return fmt.Errorf("turn answer into YAML: %w", err)
		}
		_, err = o.out.Write(text)
		return err
	default:
		return table(o.out)
	}
}

// show decodes an answer and writes it.
func show[T any](o *operator, answer *client.Answer, table func(w io.Writer, v *T) error) error {
	var v T
	if err := answer.Decode(&v); err != nil {
		return err
	}
	return o.print(answer.Body, func(w io.Writer) error { return table(w, &v) })
}

// columns writes rows in aligned columns.
func columns(w io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// orDash stands for what is empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// lasted is the time since a moment, as people say it.
func lasted(since time.Time) string {
	d := time.Since(since)
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Hour).String(), "0m0s")
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
