// The commands that read and write mementos.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

func newMemento(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "memento",
		Short: "Read and write the plane's state",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newGet(s), newPut(s), newDelete(s), newList(s), newWatch(s), newBatch(s), newDiff(s))
	return cmd
}

// mementoPath is the API path of a memento named on the command line.
func mementoPath(arg string) (string, error) {
	if err := rebind.Name(arg).Check(); err != nil {
		return "", usageError{err}
	}
	return wire.PathMementos + "/" + arg, nil
}

// setPrecondition turns --if-revision into a header.
func setPrecondition(cmd *cobra.Command, h http.Header, revision int64) error {
	switch {
	case !cmd.Flags().Changed("if-revision"):
	case revision < 0:
		return usageError{fmt.Errorf("if-revision %d is negative", revision)}
	case revision == 0:
		h.Set("If-None-Match", "*")
	default:
		h.Set("If-Match", `"`+strconv.FormatInt(revision, 10)+`"`)
	}
	return nil
}

// input reads a file, or standard input if args is empty or "-".
func (o *operator) input(args []string) ([]byte, error) {
	if len(args) == 0 || args[0] == "-" {
		body, err := io.ReadAll(o.in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return body, nil
	}
	body, err := os.ReadFile(args[0])
	if err != nil {
		return nil, usageError{err}
	}
	return body, nil
}

func newGet(s streams) *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use:   "get TYPE/ID",
		Short: "Print a memento's payload as it is stored",
		Long: `Print a memento's payload as it is stored, byte for byte. With --revision, print the
payload as of that revision; how far back revisions are available depends on etcd's
compaction. On a terminal, control characters are escaped; redirect the output to get
the exact bytes.`,
		Example: `  coordinator memento get entity/web-1
  coordinator memento get entity/web-1 --revision 1200`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().Int64Var(&revision, "revision", 0, "read it as of this revision")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		path, err := mementoPath(args[0])
		if err != nil {
			return err
		}
		query := make(url.Values)
		if cmd.Flags().Changed("revision") {
			if revision < 1 {
				return usageError{fmt.Errorf("revision %d: use a positive number", revision)}
			}
			query.Set("revision", strconv.FormatInt(revision, 10))
		}
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
		if err != nil {
			return err
		}
		_, err = o.textOut().Write(answer.Body)
		return err
	})
}

func newPut(s streams) *cobra.Command {
	var contentType, parent string
	var schema, revision int64
	cmd := &cobra.Command{
		Use:   "put TYPE/ID [FILE|-]",
		Short: "Store a memento, from a file or standard input",
		Long: `Store a memento as a whole: what is not given is empty afterwards. With --if-revision
it is stored only if it was last modified at that revision, and with --if-revision 0
only if it does not exist.`,
		Example: `  coordinator memento put entity/web-1 web-1.json --content-type application/json
  echo hello | coordinator memento put note/hello`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&contentType, "content-type", "", "media type of the payload")
	cmd.Flags().StringVar(&parent, "parent", "", "memento it belongs to, as type/id")
	cmd.Flags().Int64Var(&schema, "schema", 0, "version of the payload's own format")
	cmd.Flags().Int64Var(&revision, "if-revision", 0, "store it only if this is its revision; 0: only if it does not exist")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		path, err := mementoPath(args[0])
		if err != nil {
			return err
		}
		h := make(http.Header)
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		if parent != "" {
			h.Set(wire.HeaderParent, parent)
		}
		if schema != 0 {
			h.Set(wire.HeaderSchema, strconv.FormatInt(schema, 10))
		}
		if err := setPrecondition(cmd, h, revision); err != nil {
			return err
		}
		body, err := o.input(args[1:])
		if err != nil {
			return err
		}
		answer, err := o.do(ctx, client.Request{Method: http.MethodPut, Path: path, Header: h, Body: body})
		if err != nil {
			return err
		}
		done := "replaced"
		if answer.Status == http.StatusCreated {
			done = "created"
		}
		return showDone(o, answer, stored, func(w io.Writer, v *wire.Written) error {
			_, err := fmt.Fprintf(w, "%s at revision %d\n", done, v.Revision)
			return err
		})
	})
}

// stored reports whether the answer to a write says that it was made.
func stored(v *wire.Written) bool { return v.Revision > 0 }

func newDelete(s streams) *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use:     "delete TYPE/ID",
		Short:   "Delete a memento",
		Example: `  coordinator memento delete entity/web-1`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().Int64Var(&revision, "if-revision", 0, "delete it only if this is its revision")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		path, err := mementoPath(args[0])
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("if-revision") && revision < 1 {
			return usageError{errors.New("if-revision: a memento to be deleted has a positive revision")}
		}
		h := make(http.Header)
		if err := setPrecondition(cmd, h, revision); err != nil {
			return err
		}
		answer, err := o.do(ctx, client.Request{Method: http.MethodDelete, Path: path, Header: h})
		if err != nil {
			return err
		}
		body, err := deleted(answer)
		if err != nil {
			return err
		}
		return o.print(body, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "deleted at revision %s\n", answer.Header.Get(wire.HeaderRevision))
			return err
		})
	})
}

// deleted is the answer to a deletion as JSON; the API has only a header for it.
func deleted(answer *client.Answer) ([]byte, error) {
	revision, err := strconv.ParseInt(answer.Header.Get(wire.HeaderRevision), 10, 64)
	if err != nil || revision < 1 {
		return nil, answer.Incomplete("it has no revision")
	}
	return json.Marshal(wire.Written{Revision: revision})
}

func newList(s streams) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "list [TYPE]",
		Short: "List mementos, all at one revision",
		Args:  cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only ids that begin like this")
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		query := make(url.Values)
		if prefix != "" {
			query.Set("prefix", prefix)
		}
		if len(args) > 0 {
			query.Set("type", args[0])
		}
		all := wire.List{Items: []wire.Memento{}}
		for {
			answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: wire.PathMementos, Query: query})
			if err != nil {
				return err
			}
			var page wire.List
			if err := answer.Decode(&page); err != nil {
				return err
			}
			all.Revision = page.Revision
			all.Items = append(all.Items, page.Items...)
			if page.Next == "" {
				break
			}
			query.Set("after", page.Next)
		}
		body, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("encode listing: %w", err)
		}
		return o.print(body, func(w io.Writer) error { return listTable(w, &all) })
	})
}

// listTable prints mementos as a table.
func listTable(w io.Writer, l *wire.List) error {
	rows := [][]string{{"MEMENTO", "REVISION", "VERSION", "SIZE", "CONTENT TYPE", "SCHEMA", "PARENT"}}
	for _, m := range l.Items {
		rows = append(rows, []string{
			m.Type + "/" + m.ID, strconv.FormatInt(m.ModRevision, 10), strconv.FormatInt(m.Version, 10),
			strconv.Itoa(m.Size), orDash(m.ContentType), strconv.FormatInt(m.Schema, 10), orDash(m.Parent),
		})
	}
	return columns(w, rows...)
}

func newBatch(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "batch [FILE|-]",
		Short: "Put and delete mementos together, all or nothing",
		Long: `Put and delete mementos together, all or nothing, as described by a JSON document:

    {"ops": [
      {"op": "put", "type": "entity", "id": "a", "data": {"any": "JSON"}},
      {"op": "put", "type": "entity", "id": "b", "content_type": "text/plain", "data_base64": "aGVsbG8="},
      {"op": "delete", "type": "entity", "id": "c", "if_revision": 42}
    ]}`,
		Args: cobra.MaximumNArgs(1),
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		body, err := o.input(args)
		if err != nil {
			return err
		}
		answer, err := o.do(ctx, client.Request{
			Method: http.MethodPost, Path: wire.PathBatch, Body: body,
			Header: http.Header{"Content-Type": {"application/json"}},
		})
		if err != nil {
			return err
		}
		return showDone(o, answer, stored, func(w io.Writer, v *wire.Written) error {
			_, err := fmt.Fprintf(w, "stored at revision %d\n", v.Revision)
			return err
		})
	})
}
