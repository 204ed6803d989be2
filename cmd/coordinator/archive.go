// The commands export and import: all mementos of a plane as one file.

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

// maxExported bounds one payload of an archive that is checked on its way to disk. It is
// larger than any store accepts.
const maxExported = 64 << 20

// exported describes a finished export.
type exported struct {
	archive.Header
	archive.Summary
	Quarantined uint64 `json:"quarantined"`
}

func newExport(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [FILE|-]",
		Short: "Write all mementos to a file",
		Long: `Write all mementos of a hot node or the master, at one revision, to a file or to
standard output. The archive ends with a digest, which is checked. A file is replaced
only once the archive is complete, and keeps its mode and owner. A pipe or a device is
written to directly. Quarantined mementos are left out and counted.

--timeout limits how long the transfer may stall, not how long it takes in all.`,
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
			return usageError{errors.New("an archive cannot be written to a terminal: name a file, or redirect the output")}
		}
		told := *o // the summary goes to standard error, the archive to standard output
		told.out = o.err
		return told.exportTo(cmd.Context(), o.out, func() error { return nil })
	})
}

// exportTo writes an archive, commits it once it is complete, and prints a summary.
func (o *operator) exportTo(ctx context.Context, to io.Writer, commit func() error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	e, err := o.export(ctx, to)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted, the archive is incomplete")
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

// export copies an archive from a node and verifies it on the way.
func (o *operator) export(ctx context.Context, to io.Writer) (*exported, error) {
	ctx, stop, done := withStallTimer(ctx, o.timeout)
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
	out := &errorRecorder{to: to}
	from := &progressReader{from: stream.Body, progress: func(int) { stop.progress() }}
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
		return nil, fmt.Errorf("%w: export from %s: the number of quarantined mementos is missing: %w", client.ErrLost, stream.Server, err)
	}
	return &exported{a.Header(), a.Summary(), quarantined}, nil
}

// mementos asks how many mementos to expect, for the progress bar; 0 if no bar is shown.
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
		Short: "Import the mementos of an archive",
		Long: `Put the mementos of an archive, read from a file or standard input, that are missing
from the plane or differ from it. A broken or incomplete archive changes nothing.
An import as a whole is not atomic; running it again completes it.

With --replace, mementos that the archive lacks are deleted, except quarantined ones.
With --dry-run nothing is changed, and the changes are only shown.

--timeout limits how long the transfer may stall, not how long it takes in all.`,
		Example: `  coordinator import plane.archive --dry-run
  coordinator import plane.archive --replace`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the changes without making them")
	cmd.Flags().BoolVar(&replace, "replace", false, "delete mementos that the archive lacks")
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
		return o.importArchive(cmd.Context(), from, length, query)
	})
}

// importArchive sends an archive and shows the result.
func (o *operator) importArchive(ctx context.Context, from io.Reader, length int64, query url.Values) error {
	ctx, stop, done := withStallTimer(ctx, o.timeout)
	defer done()
	progress := newBar(o.err, "importing", length, size)
	c, err := o.client()
	if err != nil {
		return err
	}
	answer, err := c.Do(ctx, client.Request{
		Method: http.MethodPost, Path: wire.PathImport, Query: query, ReadOnly: query.Has("dry_run"),
		// A node that cannot accept an archive says so before the archive is sent.
		Header:     http.Header{"Content-Type": {wire.Archive}, "Expect": {"100-continue"}},
		Upload:     &progressReader{from: from, progress: func(n int) { stop.progress(); progress.add(int64(n)) }},
		OnProgress: stop.progress,
	})
	progress.close()
	if err != nil {
		return o.explain(err)
	}
	whole := func(v *wire.Imported) bool { return v.Revision > 0 && v.DryRun == query.Has("dry_run") }
	return showDone(o, answer, whole, importedTable)
}

// importedTable shows what an import has changed, or would change.
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
