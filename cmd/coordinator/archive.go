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
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// maxExported bounds one payload of an archive that is checked on its way to disk; no
// store takes as much.
const maxExported = 64 << 20

// exported is what an export has taken away.
type exported struct {
	archive.Header
	archive.Summary
	Quarantined uint64 `json:"quarantined"`
}

func newExport(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [FILE|-]",
		Short: "Write all mementos to a file",
		Long: `Write all mementos to a file or standard output, as a hot node or the master has
them at one revision. The archive ends with a digest, which is checked; a file is
there whole or not at all, and one that was there before keeps its mode and owner.
What is no regular file, such as a pipe, is written to. Quarantined mementos are left
out, and counted.

--timeout bounds how long nothing may move, not the whole.`,
		Example: `  coordinator export plane.archive
  coordinator export --server http://127.0.0.1:7402 | coordinator import --dry-run`,
		Args: cobra.MaximumNArgs(1),
	}
	return operating(s, cmd, func(_ context.Context, o *operator, args []string) error {
		if len(args) > 0 && !isStdout(args[0]) {
			file, err := createFile(args[0])
			if err != nil {
				return err
			}
			defer file.discard()
			return o.exportTo(cmd.Context(), file, file.commit)
		}
		if isTerminal(o.out) {
			return usageError{errors.New("an archive is not for a terminal: name a file, or redirect the output")}
		}
		told := *o // where the archive does not go
		told.out = o.err
		return told.exportTo(cmd.Context(), o.out, func() error { return nil })
	})
}

// exportTo writes an archive, has it committed when it is whole, and says what is in it.
func (o *operator) exportTo(ctx context.Context, to io.Writer, commit func() error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	e, err := o.export(ctx, to)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted, the archive is not whole")
		}
		return err
	}
	if err := commit(); err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	return o.print(body, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "exported %d mementos (%s) of plane %s at revision %d\n", e.Count, size(e.Bytes), e.Plane, e.Header.Revision)
		if err == nil && e.Quarantined > 0 {
			_, err = fmt.Fprintf(w, "%d quarantined mementos are left out\n", e.Quarantined)
		}
		return err
	})
}

// export copies an archive from a node, and looks at it on the way.
func (o *operator) export(ctx context.Context, to io.Writer) (*exported, error) {
	ctx, stop, done := stalling(ctx, o.timeout)
	defer done()
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	progress := newBar(o.err, "exporting", o.mementos(ctx, c), count)
	defer progress.close()
	stream, err := c.Open(ctx, client.Request{Method: http.MethodGet, Path: wire.PathExport})
	if err != nil {
		return nil, o.explain(err)
	}
	defer stream.Body.Close()
	out := &noting{to: to}
	from := &moving{from: stream.Body, moved: func(int) { stop.moved() }}
	a, err := archive.NewReader(io.TeeReader(from, out), maxExported)
	for err == nil {
		if _, _, err = a.Next(); err == nil {
			progress.add(1)
		}
	}
	switch {
	case out.failed != nil:
		return nil, fmt.Errorf("write archive: %w", out.failed)
	case from.failed != nil:
		return nil, fmt.Errorf("%w: the export from %s broke off: %w", client.ErrLost, stream.Server, from.failed)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("export from %s: %w", stream.Server, err)
	}
	quarantined, err := strconv.ParseUint(stream.Header.Get(wire.HeaderQuarantined), 10, 63)
	if err != nil {
		return nil, fmt.Errorf("%w: export from %s: it does not say what it leaves out: %w", client.ErrLost, stream.Server, err)
	}
	return &exported{a.Header(), a.Summary(), quarantined}, nil
}

// mementos asks how many there are to come, for a bar; 0 if nobody looks at one.
func (o *operator) mementos(ctx context.Context, c *client.Client) int64 {
	var n wire.Node
	if !isTerminal(o.err) || c.Get(ctx, wire.PathNode, &n) != nil || n.Mirror == nil {
		return 0
	}
	return int64(n.Mirror.Count)
}

func newImport(s streams) *cobra.Command {
	var dryRun, replace bool
	cmd := &cobra.Command{
		Use:   "import [FILE|-]",
		Short: "Bring the mementos of an archive in",
		Long: `Put the mementos of an archive, from a file or standard input, that differ from
the plane's own or are not there. A broken or incomplete archive changes nothing.
An import is not atomic as a whole; the same one again does what is left to do.

With --replace what the archive lacks is deleted, except for quarantined mementos.
With --dry-run nothing is changed, and what would be is shown.

--timeout bounds how long nothing may move, not the whole.`,
		Example: `  coordinator import plane.archive --dry-run
  coordinator import plane.archive --replace`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be changed, and change nothing")
	cmd.Flags().BoolVar(&replace, "replace", false, "delete what the archive lacks")
	return operating(s, cmd, func(_ context.Context, o *operator, args []string) error {
		from, length := o.in, int64(0)
		if len(args) > 0 && args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return usageError{err}
			}
			defer file.Close()
			info, err := file.Stat()
			if err != nil {
				return usageError{err}
			}
			if info.IsDir() {
				return usageError{fmt.Errorf("%s is a directory: name an archive in it", args[0])}
			}
			length = info.Size()
			from = file
		}
		query := make(url.Values)
		if dryRun {
			query.Set("dry_run", "true")
		}
		if replace {
			query.Set("replace", "true")
		}
		return o.bringIn(cmd.Context(), from, length, query)
	})
}

// bringIn sends an archive and shows what has come of it.
func (o *operator) bringIn(ctx context.Context, from io.Reader, length int64, query url.Values) error {
	ctx, stop, done := stalling(ctx, o.timeout)
	defer done()
	progress := newBar(o.err, "importing", length, size)
	c, err := o.client()
	if err != nil {
		return err
	}
	answer, err := c.Do(ctx, client.Request{
		Method: http.MethodPost, Path: wire.PathImport, Query: query, ReadOnly: query.Has("dry_run"),
		// A node that takes no archive says so before it is sent one.
		Header:     http.Header{"Content-Type": {wire.Archive}, "Expect": {"100-continue"}},
		Upload:     &moving{from: from, moved: func(n int) { stop.moved(); progress.add(int64(n)) }},
		OnProgress: stop.moved,
	})
	progress.close()
	if err != nil {
		return o.explain(err)
	}
	whole := func(v *wire.Imported) bool { return v.Revision > 0 && v.DryRun == query.Has("dry_run") }
	return showDone(o, answer, whole, importedTable)
}

// importedTable shows to people what an import has changed, or would.
func importedTable(w io.Writer, v *wire.Imported) error {
	format := "created %d, changed %d, deleted %d; %d unchanged; revision %d\n"
	if v.DryRun {
		format = "would create %d, change %d, delete %d; %d unchanged; revision %d\n"
	}
	if v.Names != nil {
		for _, kind := range []struct {
			sign  string
			names []string
			all   int64
		}{{"+", v.Names.Created, v.Created}, {"~", v.Names.Changed, v.Changed}, {"-", v.Names.Deleted, v.Deleted}} {
			for _, name := range kind.names {
				fmt.Fprintln(w, kind.sign, name)
			}
			if more := kind.all - int64(len(kind.names)); more > 0 {
				fmt.Fprintln(w, kind.sign, "and", more, "more")
			}
		}
	}
	_, err := fmt.Fprintf(w, format, v.Created, v.Changed, v.Deleted, v.Unchanged, v.Revision)
	return err
}
