// The command doctor: it collects facts about a plane and prints findings; diagnose.go has
// the checks.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// diagnosis is the output of doctor. The ids of its findings are stable: scripts rely on
// them.
type diagnosis struct {
	OK     bool      `json:"ok"`
	Checks []finding `json:"checks"`
}

// finding is the result of one check.
type finding struct {
	ID     string `json:"id"`
	OK     bool   `json:"ok"`
	Node   string `json:"node,omitempty"` // the node it is about; empty for the plane
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do if it is not ok
}

func newDoctor(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a plane and advise how to fix what is wrong",
		Long: `Check everything that a plane depends on, through the API of one node and of all the
nodes it knows: the store, the master and its successor, whether a handover would
succeed, and each node's address, lease, state, copy and version. For everything that
is wrong, doctor says what to do.

The exit code is 0 if nothing is wrong, 1 if something is, and 6 if the node does not
answer. The ids of the checks are stable.`,
		Example: `  coordinator doctor
  coordinator doctor -o json`,
		Args: cobra.NoArgs,
	}
	return operating(s, cmd, func(ctx context.Context, o *operator, _ []string) error {
		var d diagnosis
		f, failure := o.examine(ctx)
		if failure != nil {
			d.Checks = []finding{{
				ID: "reachable", Found: failure.Error(),
				Advice: "check whether the node's process runs, or ask another node with --server",
			}}
		} else {
			d.Checks = f.diagnose()
		}
		d.OK = true
		for _, c := range d.Checks {
			d.OK = d.OK && c.OK
		}
		body, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("encode findings: %w", err)
		}
		if err := o.print(body, d.table); err != nil {
			return err
		}
		switch {
		case failure != nil:
			return fmt.Errorf("%w: %w", errQuiet, failure)
		case !d.OK:
			return errQuiet
		}
		return nil
	})
}

// table prints the findings, and then the advice.
func (d *diagnosis) table(w io.Writer) error {
	rows := [][]string{{"CHECK", "RESULT", "NODE", "FOUND"}}
	for _, c := range d.Checks {
		rows = append(rows, []string{c.ID, result(c.OK), orDash(c.Node), c.Found})
	}
	if err := columns(w, rows...); err != nil {
		return err
	}
	if d.OK {
		_, err := fmt.Fprintln(w, "\nNothing is wrong.")
		return err
	}
	if _, err := fmt.Fprintln(w, "\nWhat to do:"); err != nil {
		return err
	}
	for _, c := range d.Checks {
		if c.OK {
			continue
		}
		name := c.ID
		if c.Node != "" {
			name += " (" + c.Node + ")"
		}
		if _, err := fmt.Fprintf(w, "- %s: %s\n", name, c.Advice); err != nil {
			return err
		}
	}
	return nil
}

// facts are what the checks work on.
type facts struct {
	asked wire.Node
	plane wire.Plane
	peers []peer
	// dryRun is the result of a dry run of a handover to the best candidate; dryRunErr
	// is why there is none. Both are nil if there is no master.
	dryRun    *wire.DryRunReply
	dryRunErr error
}

// peer is a node of the plane and what its own API reports.
type peer struct {
	id, uri, instance string
	node              *wire.Node
	silent            error  // why its API could not be asked
	storeError        string // the store error that it reports
}

// examine collects the facts.
func (o *operator) examine(ctx context.Context) (*facts, error) {
	f := new(facts)
	server := ""
	for path, v := range map[string]any{wire.PathNode: &f.asked, wire.PathPlane: &f.plane} {
		answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path})
		if err != nil {
			return nil, err
		}
		if err := answer.Decode(v); err != nil {
			return nil, err
		}
		server = answer.Server
	}
	member := false
	for _, n := range f.plane.Nodes {
		member = member || n.ID == f.asked.ID
		f.peers = append(f.peers, peer{id: n.ID, uri: n.URI, instance: n.Instance})
	}
	if !member {
		f.peers = append(f.peers, peer{id: f.asked.ID, uri: f.asked.URI, instance: f.asked.Instance})
	}
	var group sync.WaitGroup
	for i := range f.peers {
		group.Go(func() { f.peers[i].ask(ctx, o, server) })
	}
	if f.plane.Master != nil {
		f.tryHandover(ctx, o)
	}
	group.Wait()
	return f, nil
}

// peerTimeout is how long a node of the plane may take to answer.
const peerTimeout = 3 * time.Second

// ask asks the node about itself, at the address that it advertises. asked is the server
// that named it.
func (p *peer) ask(ctx context.Context, o *operator, asked string) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	c, err := o.reach(ctx, asked, p.uri, p.id, p.instance)
	if err != nil {
		p.silent = err
		return
	}
	defer c.Close()
	var n wire.Node
	if p.silent = c.Get(ctx, wire.PathNode, &n); p.silent != nil {
		return
	}
	p.node = &n
	var seen wire.Plane
	if c.Get(ctx, wire.PathPlane, &seen) == nil {
		p.storeError = seen.StoreError
	}
}

// tryHandover asks the master to check a handover to the best candidate.
func (f *facts) tryHandover(ctx context.Context, o *operator) {
	req, err := client.JSON(http.MethodPost, wire.PathHandover, wire.HandoverRequest{DryRun: true})
	var answer *client.Answer
	if err == nil {
		req.ReadOnly = true
		answer, err = o.do(ctx, req)
	}
	if err == nil {
		f.dryRun = new(wire.DryRunReply)
		err = answer.Decode(f.dryRun)
	}
	f.dryRunErr = err
}
