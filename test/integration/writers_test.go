package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// writers put mementos through nodes, one write after the other each, and keep
// account of what they were told.
type writers struct {
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu sync.Mutex // guards the field below
	ledger
}

// write starts n writers that go round the given nodes.
func startWriters(t *testing.T, n int, through ...*process) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{cancel: cancel}
	for i := range n {
		w.group.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				w.one(ctx, i, k, through[(i+k)%len(through)])
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// one sends one write. Each writer has three mementos of its own, so that writes
// to the same one follow each other.
func (w *writers) one(ctx context.Context, writer, k int, node *process) {
	name := fmt.Sprintf("entity/w%d-%d", writer, k%3)
	payload := fmt.Sprintf("unique %d %d", writer, k)
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a, err := call(bounded, http.MethodPut, node.url+"/v1/mementos/"+name, nil, []byte(payload))
	w.mu.Lock()
	defer w.mu.Unlock()
	var written struct{ Revision int64 }
	switch {
	case err != nil || a.status == http.StatusGatewayTimeout:
		w.unknown++
	case a.status/100 == 2 && json.Unmarshal(a.body, &written) == nil:
		w.acked = append(w.acked, write{name, payload, written.Revision})
	default:
		w.refused = append(w.refused, payload)
	}
	if err != nil || a.status/100 != 2 { // do not spin on a node that is down
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// stop ends the writers and returns their account.
func (w *writers) stop() *ledger {
	w.cancel()
	w.group.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return &w.ledger
}

// count returns how many writes have been acknowledged so far.
func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// more waits for further acknowledged writes.
func (w *writers) more(t *testing.T, n int) {
	t.Helper()
	want := w.count() + n
	eventually(t, patience, func() error {
		if got := w.count(); got < want {
			return fmt.Errorf("%d writes acknowledged, want %d", got, want)
		}
		return nil
	})
}
