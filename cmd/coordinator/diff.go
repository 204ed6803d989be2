// The command "memento diff": what changed between two revisions.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

func newDiff(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff R1 R2",
		Short: "Show what was created, changed and deleted between two revisions",
		Long: `Show which mementos were created, changed and deleted between two revisions of the
store, ordered by name. FROM and TO are the revisions that last put a memento, as
seen from the two revisions. A memento that was created and deleted again in between
is not shown. "memento get --revision" shows an earlier payload.

How far back revisions are available depends on etcd's compaction. No difference is
not an error.`,
		Example: `  coordinator memento diff 1200 1300
  coordinator memento diff 1200 1300 -o json`,
		Args: cobra.ExactArgs(2),
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, args []string) error {
		var revisions [2]int64
		for i, arg := range args {
			var err error
			if revisions[i], err = strconv.ParseInt(arg, 10, 64); err != nil || revisions[i] < 1 {
				return usageError{fmt.Errorf("revision %q: use a positive number", arg)}
			}
		}
		return o.diff(ctx, revisions[0], revisions[1])
	})
}

// difference is one memento that differs between two revisions.
type difference struct {
	Change string `json:"change"` // created, changed or deleted
	Type   string `json:"type"`
	ID     string `json:"id"`
	// From and To are the revisions that last put it; 0: it does not exist there.
	From int64 `json:"from_revision"`
	To   int64 `json:"to_revision"`
}

// diff merges two listings, which have the same order, page by page. It holds one page of
// each at a time.
func (o *operator) diff(ctx context.Context, from, to int64) error {
	older, newer := o.listing(ctx, from), o.listing(ctx, to)
	if err := older.next(); err != nil {
		return err
	}
	if err := newer.next(); err != nil {
		return err
	}
	shown := o.textOut()
	if o.output == "table" {
		shown = terminalWriter{o.out}
	}
	out := &diffWriter{w: shown, format: o.output, from: from, to: to}
	if err := out.begin(); err != nil {
		return err
	}
	for older.item != nil || newer.item != nil {
		d, was, is := compare(older.item, newer.item)
		if d != nil {
			if err := out.add(d); err != nil {
				return err
			}
		}
		if was {
			if err := older.next(); err != nil {
				return err
			}
		}
		if is {
			if err := newer.next(); err != nil {
				return err
			}
		}
	}
	return out.end()
}

// compare compares the next item of each listing, nil at its end. It returns the
// difference, if there is one, and which of the listings to advance.
func compare(older, newer *wire.Memento) (d *difference, was, is bool) {
	order := 0
	switch {
	case older == nil:
		order = 1
	case newer == nil:
		order = -1
	default:
		order = strings.Compare(older.Type+"/"+older.ID, newer.Type+"/"+newer.ID)
	}
	switch {
	case order < 0:
		return &difference{Change: "deleted", Type: older.Type, ID: older.ID, From: older.ModRevision}, true, false
	case order > 0:
		return &difference{Change: "created", Type: newer.Type, ID: newer.ID, To: newer.ModRevision}, false, true
	case older.ModRevision != newer.ModRevision:
		return &difference{Change: "changed", Type: newer.Type, ID: newer.ID, From: older.ModRevision, To: newer.ModRevision}, true, true
	default:
		return nil, true, true
	}
}

// listing reads the mementos at one revision, page by page.
type listing struct {
	o     *operator
	ctx   context.Context
	query url.Values
	page  []wire.Memento
	ended bool          // there are no more pages
	item  *wire.Memento // the current item; nil at the end
}

func (o *operator) listing(ctx context.Context, at int64) *listing {
	return &listing{o: o, ctx: ctx, query: url.Values{
		"revision": {strconv.FormatInt(at, 10)},
		"limit":    {"1000"},
	}}
}

// next advances to the next item.
func (l *listing) next() error {
	for len(l.page) == 0 {
		if l.ended {
			l.item = nil
			return nil
		}
		answer, err := l.o.do(l.ctx, client.Request{Method: http.MethodGet, Path: wire.PathMementos, Query: l.query})
		if err != nil {
			return err
		}
		var page wire.List
		if err := answer.Decode(&page); err != nil {
			return err
		}
		l.page, l.ended = page.Items, page.Next == ""
		l.query.Set("after", page.Next)
	}
	l.item, l.page = &l.page[0], l.page[1:]
	return nil
}

// diffWriter writes differences one by one in the requested format.
type diffWriter struct {
	w        io.Writer
	format   string
	from, to int64
	count    int
}

// diffRow leaves room for large revisions. The name comes last, since its width is not
// known in advance.
const diffRow = "%-7s  %-10s  %-10s  %s\n"

func (d *diffWriter) begin() (err error) {
	switch d.format {
	case "json":
		_, err = fmt.Fprintf(d.w, `{"from":%d,"to":%d,"items":[`, d.from, d.to)
	case "yaml":
		_, err = fmt.Fprintf(d.w, "from: %d\nto: %d\nitems:", d.from, d.to)
	}
	return err
}

func (d *diffWriter) add(one *difference) error {
	d.count++
	if d.format == "table" {
		return d.row(one)
	}
	text, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("encode difference: %w", err)
	}
	if d.format == "json" {
		if d.count > 1 {
			text = append([]byte{','}, text...)
		}
		_, err = d.w.Write(text)
		return err
	}
	if text, err = yaml.JSONToYAML(text); err != nil {
		return fmt.Errorf("turn difference into YAML: %w", err)
	}
	text = bytes.ReplaceAll(bytes.TrimSpace(text), []byte("\n"), []byte("\n  "))
	_, err = fmt.Fprintf(d.w, "\n- %s", text)
	return err
}

func (d *diffWriter) row(one *difference) error {
	if d.count == 1 {
		if _, err := fmt.Fprintf(d.w, diffRow, "CHANGE", "FROM", "TO", "MEMENTO"); err != nil {
			return err
		}
	}
	revision := func(r int64) string {
		if r == 0 {
			return "-"
		}
		return strconv.FormatInt(r, 10)
	}
	_, err := fmt.Fprintf(d.w, diffRow, one.Change, revision(one.From), revision(one.To), one.Type+"/"+one.ID)
	return err
}

func (d *diffWriter) end() error {
	end := ""
	switch {
	case d.format == "json":
		end = "]}\n"
	case d.format == "yaml" && d.count == 0:
		end = " []\n"
	case d.format == "yaml":
		end = "\n"
	case d.count == 0:
		end = fmt.Sprintf("no differences between revisions %d and %d\n", d.from, d.to)
	}
	_, err := io.WriteString(d.w, end)
	return err
}
