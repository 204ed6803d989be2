package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
)

// ErrFenced is returned for a write that the file server refused, because a later term has written.
var ErrFenced = errors.New("fenced")

// Writer writes a report to a file server, on whichever node is master.
type Writer struct {
	Node   string
	Server string // its URL
	Client *http.Client
	Every  time.Duration
	// Report returns what is to be written.
	Report func() []byte
}

// Lead is the program of a node, for coordinator.Config.Lead.
func (w *Writer) Lead(ctx context.Context, l *coordinator.Leader) error {
	// The fence comes first. From here on the server refuses what an earlier master sends, also if
	// this one writes nothing for an hour; before that, it could not know of this term.
	for w.send(ctx, http.MethodPost, "", l.Term(), nil) != nil && ctx.Err() == nil {
		w.pause(ctx)
	}
	for ctx.Err() == nil {
		err := w.send(ctx, http.MethodPut, "report", l.Term(), w.Report())
		switch {
		case errors.Is(err, ErrFenced):
			return err // there is a later term: this node has lost its own, and will see that
		case err != nil:
			log.Printf("%s: report not written: %v", w.Node, err)
		}
		w.pause(ctx)
	}
	return nil
}

func (w *Writer) pause(ctx context.Context) {
	select {
	case <-time.After(w.Every):
	case <-ctx.Done():
	}
}

// send sends a request with the term as fencing token.
func (w *Writer) send(ctx context.Context, method, name string, term int64, text []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, w.Server+"/"+name, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set(HeaderTerm, strconv.FormatInt(term, 10))
	resp, err := w.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	why, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch {
	case resp.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: %s", ErrFenced, bytes.TrimSpace(why))
	case err != nil || resp.StatusCode != http.StatusOK:
		return errors.Join(err, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(why)))
	}
	return nil
}
