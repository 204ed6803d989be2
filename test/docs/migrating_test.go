// Package docs is tests only: it compiles what the documents show.
package docs_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// The functions below stand in docs/MIGRATING.md as they are here.

func run(ctx context.Context, id string) error {
	store, err := etcdstore.Open(ctx, etcdstore.Config{
		Endpoints: []string{"127.0.0.1:2379"},
		Prefix:    "/coordinator", Plane: "jobs", TTL: 6 * time.Second,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	node, err := coordinator.New(coordinator.Config{
		ID: id, Plane: "jobs", Mode: modes.Auto, Lead: lead,
	}, store)
	if err != nil {
		return err
	}
	return node.Run(ctx) // until ctx ends; a lost term does not end it
}

func lead(ctx context.Context, l *coordinator.Leader) error {
	work(ctx)
	return nil
}

type Job struct {
	Owner string `json:"owner"`
	Done  bool   `json:"done"`
}

var jobs = rebind.JSON[Job]("job")

func leadWithState(ctx context.Context, l *coordinator.Leader) error {
	for job, err := range jobs.All(l.View()) { // in memory already
		if err != nil || job.Value.Done {
			continue // what cannot be decoded is listed by status and doctor
		}
		if _, err := jobs.Put(ctx, l, job.ID, Job{Owner: "me", Done: true}); err != nil {
			return err // driver.ErrFenced, if the term is over
		}
	}
	<-ctx.Done()
	return nil
}

func campaign(ctx context.Context, client *clientv3.Client, id string) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(6))
	if err != nil {
		return err
	}
	defer session.Close()
	election := concurrency.NewElection(session, "/jobs/leader")
	if err := election.Campaign(ctx, id); err != nil {
		return err
	}
	_, err = client.Put(ctx, "/jobs/42", "done") // nothing compares the leader's key
	return err
}

func leadWithOldLock(client *clientv3.Client, id string) func(context.Context, *coordinator.Leader) error {
	return func(ctx context.Context, l *coordinator.Leader) error {
		for ctx.Err() == nil {
			if err := holdOldLock(ctx, client, id); err != nil {
				select { // etcd is away, or the term has ended
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		}
		return nil
	}
}

func holdOldLock(ctx context.Context, client *clientv3.Client, id string) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(5))
	if err != nil {
		return err
	}
	defer session.Close()
	if err := concurrency.NewElection(session, "/jobs/leader").Campaign(ctx, id); err != nil {
		return err
	}
	both, cancel := context.WithCancel(session.Ctx())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	work(both) // ends with the term, or with the old lock
	return nil
}

// work is what a program does while it leads.
func work(ctx context.Context) { <-ctx.Done() }

// Each Go snippet of the page stands in this file, so it compiles. Those of client-go
// do not: the module does not require it.
func TestMigrating_SnippetsCompile(t *testing.T) {
	page, err := os.ReadFile("../../docs/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("migrating_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d snippets, that is not the page", len(blocks))
	}
	for _, block := range blocks {
		snippet, _, _ := strings.Cut(block, "```")
		if !strings.Contains(snippet, "leaderelection.") && !strings.Contains(string(source), snippet) {
			t.Errorf("this snippet does not stand in migrating_test.go:\n%s", snippet)
		}
	}
	_ = []any{run, leadWithState, campaign, leadWithOldLock}
}
