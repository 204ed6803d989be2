package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// copyEvery is how often each node is asked for its whole copy.
const copyEvery = 700 * time.Millisecond

// watchCopies records the copies of all nodes that have one, until ctx ends.
func (f *Fleet) watchCopies(ctx context.Context) {
	tick := time.NewTicker(copyEvery / time.Duration(len(f.Nodes)))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if n := f.Nodes[i%len(f.Nodes)]; n.up() {
			_ = f.takeCopy(ctx, n, 0) // a node that is cold, starting or just killed has none
		}
	}
}

// takeCopy records a node's copy once it has reached a revision.
func (f *Fleet) takeCopy(ctx context.Context, n *Node, least int64) error {
	c, err := f.copyOf(ctx, n, fmt.Sprint("min_revision=", least))
	if err == nil {
		f.note(func(run *evidence.Run) { run.Copies = append(run.Copies, c) })
	}
	return err
}

// copyOf asks a node for its copy, with a condition.
func (f *Fleet) copyOf(ctx context.Context, n *Node, condition string) (evidence.Copy, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	a, err := f.call(ctx, http.MethodGet, n.url+"/v1/mementos?values=true&limit=5000&"+condition, nil, nil)
	if err != nil {
		return evidence.Copy{}, err
	}
	if a.status != http.StatusOK {
		return evidence.Copy{}, fmt.Errorf("copy of %s: %d %.200s: %w", n.ID, a.status, a.body, errNotServing)
	}
	c, err := readCopy(a.body)
	if err != nil {
		return c, fmt.Errorf("copy of %s: %w", n.ID, err)
	}
	c.Node, c.At = n.ID, f.Now()
	return c, nil
}

// readCopy reads a listing with values, all on one page.
func readCopy(body []byte) (evidence.Copy, error) {
	var list struct {
		Revision int64
		Next     string
		Items    []struct {
			Type, ID    string
			ModRevision int64           `json:"mod_revision"`
			Data        json.RawMessage `json:"data"`
			DataBase64  []byte          `json:"data_base64"`
		}
	}
	if err := json.Unmarshal(body, &list); err != nil || list.Next != "" {
		return evidence.Copy{}, fmt.Errorf("listing of %d bytes, next page %q: %w", len(body), list.Next, err)
	}
	mementos := make([]evidence.Memento, len(list.Items))
	for i, item := range list.Items {
		payload := item.Data
		if payload == nil {
			payload = item.DataBase64
		}
		mementos[i] = evidence.Memento{Name: item.Type + "/" + item.ID, Payload: string(payload), Modified: item.ModRevision}
	}
	return evidence.Copy{Revision: list.Revision, Count: len(mementos), Digest: evidence.Digest(mementos)}, nil
}
