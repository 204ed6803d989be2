// What all commands that use a node's API have in common: flags, requests and output.

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

// operator is what all commands that use a node's API have in common.
type operator struct {
	streams
	server  string
	timeout time.Duration
	output  string
	files   credentialFiles
	shown   client.Credentials // the contents of files
	nodes   *client.Client     // client for the nodes in server; made on first use
}

const defaultServer = "http://127.0.0.1:7400"

// errNoNode is returned for a node that is not in the plane.
var errNoNode = errors.New("no such live node")

// askFlags are the flags that say which node to ask, with which credentials, and how to
// print the answer.
var askFlags = []string{"server", "timeout", "output", "token-file", "cacert", "cert", "key"}

// flags adds the flags of a command that uses a node's API.
func (o *operator) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.server, "server", defaultServer, "URL of a node's API, or several separated by commas: the first that answers is used")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	o.files.flags(cmd.Flags())
	o.outputFlag(cmd, "table, json or yaml; json is the API's unchanged answer")
}

func (o *operator) outputFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", usage)
}

func (o *operator) checkOutput() error {
	switch o.output {
	case "table", "json", "yaml":
		return nil
	default:
		return usageError{fmt.Errorf("output %q: use table, json or yaml", o.output)}
	}
}

// operating makes a command that uses a node's API.
func operating(s streams, cmd *cobra.Command, run func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	o := &operator{streams: s}
	o.flags(cmd)
	o.completeNames(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.checkOutput(); err != nil {
			return err
		}
		if o.timeout <= 0 {
			return usageError{fmt.Errorf("timeout %s: use a positive time", o.timeout)}
		}
		var err error
		if o.shown, err = o.files.read(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		return run(ctx, o, args)
	}
	return cmd
}

// client returns the client for the nodes in server.
func (o *operator) client() (*client.Client, error) {
	if o.nodes == nil {
		c, err := client.New(o.server, o.shown)
		if err != nil {
			return nil, usageError{err}
		}
		o.nodes = c
	}
	return o.nodes, nil
}

// do sends a request to the node in server.
func (o *operator) do(ctx context.Context, r client.Request) (*client.Answer, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(ctx, r)
	return answer, o.explain(err)
}

// post sends v to the node in server.
func (o *operator) post(ctx context.Context, path string, v any) (*client.Answer, error) {
	req, err := client.JSON(http.MethodPost, path, v)
	if err != nil {
		return nil, err
	}
	return o.do(ctx, req)
}

// doAt sends a request to the node with that id, at the address that the plane knows.
func (o *operator) doAt(ctx context.Context, node string, r client.Request) (*client.Answer, error) {
	if node == "" {
		return o.do(ctx, r)
	}
	answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathPlane})
	if err != nil {
		return nil, err
	}
	var plane wire.Plane
	if err := answer.Decode(&plane); err != nil {
		return nil, err
	}
	for i := range plane.Nodes {
		if n := &plane.Nodes[i]; n.ID == node {
			return o.doBy(ctx, answer.Server, n, r)
		}
	}
	return nil, fmt.Errorf("%w: %s", errNoNode, node)
}

// doBy sends a request to a node at the address in its record.
func (o *operator) doBy(ctx context.Context, asked string, n *wire.PlaneNode, r client.Request) (*client.Answer, error) {
	at, err := o.reach(ctx, asked, n.URI, n.ID, n.Instance)
	if errors.Is(err, errNoAddress) {
		return nil, fmt.Errorf("%w; until then ask it where it listens, with --server", err)
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.ID, err)
	}
	defer at.Close()
	answer, err := at.Do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.ID, err)
	}
	return answer, nil
}

// explain adds advice to the error if no node was reached.
func (o *operator) explain(err error) error {
	if errors.Is(err, client.ErrUnreachable) && !errors.As(err, new(*wire.Problem)) {
		return fmt.Errorf("%w: is a node running at %s? name another with --server", err, o.server)
	}
	return err
}

// print writes an answer: its body for programs, or the table for people.
func (o *operator) print(body []byte, table func(w io.Writer) error) error {
	switch o.output {
	case "json":
		if isTerminal(o.out) {
			body = escaped(body)
		}
		_, err := fmt.Fprintf(o.out, "%s\n", bytes.TrimSpace(body))
		return err
	case "yaml":
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			return fmt.Errorf("turn answer into YAML: %w", err)
		}
		_, err = o.textOut().Write(text)
		return err
	default:
		return table(terminalWriter{o.out})
	}
}

// textOut is where to write text that programs need unchanged and people may see.
func (o *operator) textOut() io.Writer {
	if isTerminal(o.out) {
		return terminalWriter{o.out}
	}
	return o.out
}

// show decodes an answer and prints it.
func show[T any](o *operator, answer *client.Answer, table func(w io.Writer, v *T) error) error {
	var v T
	if err := answer.Decode(&v); err != nil {
		return err
	}
	return o.print(answer.Body, func(w io.Writer) error { return table(w, &v) })
}

// showDone is show for the answer to a change. The change has happened if done finds in the
// answer what it has to contain.
func showDone[T any](o *operator, answer *client.Answer, done func(v *T) bool, table func(w io.Writer, v *T) error) error {
	var v T
	if err := answer.Decode(&v); err != nil {
		return err
	}
	if !done(&v) {
		return answer.Incomplete("it does not say what was done")
	}
	return o.print(answer.Body, func(w io.Writer) error { return table(w, &v) })
}

// columns writes rows in aligned columns.
func columns(w io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, text := range row {
			cells[i] = cell(text)
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// orDash returns a dash for an empty text.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age formats the time since a moment.
func age(since time.Time) string {
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
