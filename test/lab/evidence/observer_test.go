package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// store starts an etcd and returns a func that makes clients.
func store(t *testing.T) func() *clientv3.Client {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), ClientURL: "http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	return func() *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
}

// finish ends an observer and checks the events in the run, up to the store's head.
func finish(t *testing.T, o *evidence.Observer, client *clientv3.Client, want ...string) {
	t.Helper()
	var run evidence.Run
	if err := o.Finish(t.Context(), client, &run); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range run.Events {
		got = append(got, fmt.Sprintf("%d %s=%s %t %d/%d", ev.Revision, ev.Key, ev.Value, ev.Deleted, ev.Created, ev.Version))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events %q, want %q", got, want)
	}
	now, err := client.Get(t.Context(), "x")
	if err != nil || run.Head != now.Header.Revision || run.Root != "/p/" {
		t.Errorf("head %d of %q, want %d; %v", run.Head, run.Root, now.Header.Revision, err)
	}
}

func TestObserve_SeesAllFromTheFirstRevision(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		connect := store(t)
		client := connect()
		finish(t, evidence.Observe(t.Context(), client, "/p/"), client)
		put := func(key, value string) clientv3.Op { return clientv3.OpPut(key, value) }
		do := func(ops ...clientv3.Op) {
			t.Helper()
			if _, err := client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
		}
		do(put("/p/a", "1"), put("/p/b", "2"), put("/elsewhere", "3"))
		first := connect()
		early := evidence.Observe(t.Context(), first, "/p/")
		do(put("/p/a", "4"), clientv3.OpDelete("/p/b"))
		do(put("/elsewhere", "5"))
		want := []string{"2 a=1 false 2/1", "2 b=2 false 2/1", "3 a=4 false 2/2", "3 b= true 0/0"}
		first.Close() // it continues with another client
		finish(t, early, client, want...)
		finish(t, evidence.Observe(t.Context(), client, "/p/"), client, want...)
	})
}

func TestObserve_TellsThatTheHistoryIsNotWhole(t *testing.T) {
	client := store(t)()
	for range 3 {
		if _, err := client.Put(t.Context(), "/p/a", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Compact(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	err := evidence.Observe(t.Context(), client, "/p/").Finish(t.Context(), client, new(evidence.Run))
	if !errors.Is(err, evidence.ErrCompacted) {
		t.Errorf("%v, want %v", err, evidence.ErrCompacted)
	}
}

// A store does not stand still while its history is read: the history ends with the head
// that was reported.
func TestObserve_EndsAtTheHeadItTells(t *testing.T) {
	client := store(t)()
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.Put(ctx, "/p/a", "x") // the last one is cut off
			}
		})
	}
	defer writers.Wait()
	defer stop()
	for range 10 {
		var run evidence.Run
		if err := evidence.Observe(t.Context(), client, "/p/").Finish(t.Context(), client, &run); err != nil {
			t.Fatal(err)
		}
		if n := len(run.Events); n > 0 && run.Events[n-1].Revision != run.Head {
			t.Fatalf("head %d, last event at revision %d", run.Head, run.Events[n-1].Revision)
		}
	}
}
