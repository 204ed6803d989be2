package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// writers put mementos through nodes, one write after the other each, and keep
// account of what they were told.
type writers struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	began  time.Time

	mu    sync.Mutex // guards the fields below
	told  []evidence.Op
	acked int
}

// write starts n writers that go round the given nodes.
func startWriters(t *testing.T, n int, through ...*process) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{cancel: cancel, began: time.Now()}
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
	op := w.ask(fmt.Sprintf("writer %d", writer), fmt.Sprintf("entity/w%d-%d", writer, k%3), fmt.Sprintf("unique %d %d", writer, k))
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a, err := call(bounded, http.MethodPut, node.url+"/v1/mementos/"+op.Changes[0].Name, nil, []byte(op.Changes[0].Payload))
	op.Node = node.name
	w.answered(op, a, err)
	if op.Outcome != evidence.OK { // do not spin on a node that is down
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// ask begins the account of a write.
func (w *writers) ask(client, name, payload string) *evidence.Op {
	return &evidence.Op{
		Client: client, Sent: time.Since(w.began), Outcome: evidence.Unknown,
		Changes: []evidence.Change{{Name: name, Payload: payload}},
	}
}

// answered ends the account of a write.
func (w *writers) answered(op *evidence.Op, a *answer, err error) {
	op.Answered = time.Since(w.began)
	var written struct{ Revision int64 }
	switch {
	case err != nil || a.status == http.StatusGatewayTimeout:
		op.Outcome = evidence.Unknown
	case a.status/100 == 2 && json.Unmarshal(a.body, &written) == nil:
		op.Outcome, op.Revision = evidence.OK, written.Revision
	default:
		op.Outcome, op.Why = evidence.Refused, string(a.body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, *op)
	if op.Outcome == evidence.OK {
		w.acked++
	}
}

// stop ends the writers and returns their account.
func (w *writers) stop() []evidence.Op {
	w.cancel()
	w.group.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// count returns how many writes have been acknowledged so far.
func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

// more waits for further acknowledged writes.
func (w *writers) more(t *testing.T, n int) {
	t.Helper()
	want := w.count() + n
	eventually(t, maxWait, func() error {
		if got := w.count(); got < want {
			return fmt.Errorf("%d writes acknowledged, want %d", got, want)
		}
		return nil
	})
}
