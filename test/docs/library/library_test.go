// Package library is tests only: the Go snippets of docs/LIBRARY.md stand in this file as
// they are in the page, and run.
package library_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordhttp"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

type Job struct {
	Owner string `json:"owner"`
	Runs  int    `json:"runs"`
}

var (
	jobs    = rebind.JSON[Job]("job")
	byOwner = jobs.Index(func(id string, j Job) []string { return []string{j.Owner} })
)

func create(ctx context.Context, state rebind.Shared, id, owner string) error {
	_, err := jobs.Put(ctx, state, id, Job{Owner: owner}, rebind.Absent)
	if errors.Is(err, rebind.ErrConflict) {
		return fmt.Errorf("there is a job %s already", id)
	}
	return err
}

func countRun(ctx context.Context, state rebind.Shared, id string) error {
	_, err := jobs.Update(ctx, state, id, func(j Job) (Job, error) {
		j.Runs++
		return j, nil
	})
	return err
}

func report(state rebind.Shared) {
	for job, err := range jobs.All(state.View()) { // in the order of the ids
		if err != nil {
			fmt.Println(job.ID, "cannot be read:", err)
			continue
		}
		fmt.Println(job.ID, job.Value.Runs, "last changed at revision", job.Modified)
	}
	for _, job := range byOwner.Get(state.View(), "ann") {
		fmt.Println("ann owns", job.ID)
	}
}

func rename(ctx context.Context, state rebind.Shared, from, to string) error {
	old, err := jobs.Get(state.View(), from)
	if err != nil {
		return err
	}
	put, err := jobs.Op(to, old.Value, rebind.Absent)
	if err != nil {
		return err
	}
	_, err = state.Commit(ctx, rebind.Delta{Ops: []rebind.Op{
		put,
		{Name: rebind.Name("job/" + from), Expect: old.Modified}, // no Put: delete it
	}})
	return err
}

// read returns a job as it was at most a second ago.
func read(ctx context.Context, node *coordinator.Node, id string) (Job, error) {
	now, err := node.Read()
	if err == nil && now.Staleness > time.Second {
		if err = node.Confirm(ctx); err == nil { // ask the store, and wait for what it has
			now, err = node.Read()
		}
	}
	if err != nil {
		return Job{}, err // coordinator.ErrNotReadable: this node holds no state
	}
	job, err := jobs.Get(now.View, id)
	return job.Value, err
}

func write(ctx context.Context, node *coordinator.Node, id string, job Job) error {
	_, err := jobs.Put(ctx, node, id, job)
	if other, ok := errors.AsType[*coordinator.MasterError](err); ok {
		return fmt.Errorf("ask node %s at %s", other.ID, other.URI)
	}
	return err
}

// follow calls changed for each job that is put or deleted after now, in order.
func follow(ctx context.Context, node *coordinator.Node, changed func(id string, deleted bool)) error {
	now, err := node.Read()
	if err != nil {
		return err
	}
	for at := now.View.Revision(); ; {
		steps, to, err := node.Steps(ctx, at) // blocks until there is something
		if err != nil {
			return err
		}
		for _, step := range steps {
			for _, c := range step.Changes {
				if c.Name.Type() == "job" {
					changed(c.Name.ID(), c.Memento == nil && c.Fault == "")
				}
			}
		}
		at = to
	}
}

// Disk is outside etcd. It refuses a master whose term is over.
type Disk struct {
	mu     sync.Mutex // guards the fields below
	term   int64      // the highest that has written
	blocks map[int][]byte
}

func (d *Disk) Write(term int64, block int, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if term < d.term {
		return fmt.Errorf("term %d is over, term %d has written", term, d.term)
	}
	d.term = term
	d.blocks[block] = data
	return nil
}

func leadWithDisk(disk *Disk) func(context.Context, *coordinator.Leader) error {
	return func(ctx context.Context, l *coordinator.Leader) error {
		if err := disk.Write(l.Term(), 0, nil); err != nil { // first of all: older terms end here
			return err
		}
		<-ctx.Done()
		return nil
	}
}

func serve(ctx context.Context, l net.Listener, id, url string, own http.Handler) error {
	metrics := coordhttp.NewMetrics()
	store, err := etcdstore.Open(ctx, etcdstore.Config{
		Endpoints: []string{"https://etcd.example:2379"},
		Prefix:    "/coordinator", Plane: "jobs", TTL: 6 * time.Second,
		TLS:       etcdstore.TLSFiles("etcd-ca.crt", "etcd.crt", "etcd.key"),
		OnRenewal: metrics.Renewals(), DialOptions: metrics.DialOptions(),
	})
	if err != nil {
		return err
	}
	defer store.Close()
	node, err := coordinator.New(coordinator.Config{
		ID: id, Plane: "jobs", Mode: modes.Auto, URI: url, Observe: metrics.Transitions(),
	}, metrics.Store(store))
	if err != nil {
		return err
	}
	return coordhttp.Run(ctx, node, l, coordhttp.Options{
		TLSCert: "api.crt", TLSKey: "api.key", // files may change while it runs
		Tokens:   "tokens", // as "coordinator token NAME ROLE tokens" writes it
		Metrics:  metrics,
		Fallback: own, // what is not the node's API is the program's own
	})
}

var upgradedJobs = rebind.JSON[Job]("job", renameUser) // writes schema version 1

// renameUser turns a payload of version 0, which had "user" for "owner", into one of version 1.
func renameUser(payload []byte) ([]byte, error) {
	return bytes.Replace(payload, []byte(`"user"`), []byte(`"owner"`), 1), nil
}

// snippets returns the Go blocks of a page.
func snippets(t *testing.T, name string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```go\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

// Each Go block of the page, and of the README, is a part of a file that is compiled and run.
func TestLibrary_SnippetsAreRun(t *testing.T) {
	files, err := filepath.Glob("../../../examples/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, name := range append(files, "library_test.go", "../../../examples/counter/main_test.go") {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, string(source))
	}
	blocks := snippets(t, "docs/LIBRARY.md")
	if len(blocks) < 8 {
		t.Fatalf("%d snippets, that is not the page", len(blocks))
	}
	for _, block := range append(blocks, snippets(t, "README.md")...) {
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, block) }) {
			t.Errorf("this snippet stands in none of the files that are run:\n%s", block)
		}
	}
	_ = []any{serve} // compiled only: it needs files and an etcd
}

// twoNodes starts a master a and a hot standby b, and runs test between them.
func twoNodes(t *testing.T, lead func(context.Context, *coordinator.Leader) error, test func(ctx context.Context, plane *coordtest.Plane, a, b *coordtest.Node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plane := coordtest.New(t)
		a := plane.Start(coordinator.Config{ID: "a", Lead: lead})
		a.AwaitState(modes.StateMaster, time.Second)
		b := plane.Start(coordinator.Config{ID: "b", Lead: lead})
		b.AwaitState(modes.StateHotStandby, time.Second)
		test(t.Context(), plane, a, b)
	})
}

func TestLibrary_TypedState(t *testing.T) {
	twoNodes(t, nil, func(ctx context.Context, plane *coordtest.Plane, a, b *coordtest.Node) {
		if err := create(ctx, a, "nightly", "ann"); err != nil {
			t.Fatal(err)
		}
		if err := create(ctx, a, "nightly", "bob"); err == nil || err.Error() != "there is a job nightly already" {
			t.Errorf("created twice: %v", err)
		}
		if err := errors.Join(countRun(ctx, a, "nightly"), rename(ctx, a, "nightly", "daily")); err != nil {
			t.Fatal(err)
		}
		report(a)
		plane.Pass(time.Second)
		want := Job{Owner: "ann", Runs: 1}
		for _, node := range []*coordtest.Node{a, b} {
			if got, err := read(ctx, node.Node, "daily"); err != nil || got != want {
				t.Errorf("%s reads %+v, %v, want %+v", node.ID(), got, err, want)
			}
		}
		if owned := byOwner.Get(b.View(), "ann"); len(owned) != 1 || owned[0].ID != "daily" {
			t.Errorf("ann owns %v", owned)
		}
	})
}

func TestLibrary_WriteOnAStandbyNamesTheMaster(t *testing.T) {
	twoNodes(t, nil, func(ctx context.Context, _ *coordtest.Plane, a, b *coordtest.Node) {
		if err := write(ctx, a.Node, "x", Job{}); err != nil {
			t.Error(err)
		}
		if err := write(ctx, b.Node, "x", Job{}); err == nil || err.Error() != "ask node a at http://a" {
			t.Errorf("write on the standby: %v", err)
		}
	})
}

func TestLibrary_FollowOnAStandby(t *testing.T) {
	twoNodes(t, nil, func(ctx context.Context, plane *coordtest.Plane, a, b *coordtest.Node) {
		following, stop := context.WithCancel(ctx)
		var told []string
		var follower sync.WaitGroup
		follower.Go(func() {
			err := follow(following, b.Node, func(id string, deleted bool) { told = append(told, fmt.Sprint(id, " ", deleted)) })
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		plane.Pass(time.Second)
		_, put := jobs.Put(ctx, a, "x", Job{Owner: "ann"})
		_, deleted := jobs.Delete(ctx, a, "x")
		plane.Pass(time.Second)
		stop()
		follower.Wait()
		if err := errors.Join(put, deleted); err != nil || !slices.Equal(told, []string{"x false", "x true"}) {
			t.Errorf("told %q, %v", told, err)
		}
	})
}

func TestLibrary_DiskRefusesAnOldTerm(t *testing.T) {
	disk := &Disk{blocks: make(map[int][]byte)}
	twoNodes(t, leadWithDisk(disk), func(_ context.Context, plane *coordtest.Plane, a, b *coordtest.Node) {
		old := a.Status().Term
		a.Freeze()
		b.AwaitState(modes.StateMaster, plane.TTL()+time.Second)
		plane.Pass(time.Second)
		if err := disk.Write(old, 1, []byte("late")); err == nil {
			t.Error("the disk took a write of the frozen master's term")
		}
		a.Thaw()
	})
}

func TestLibrary_UpgradedSchema(t *testing.T) {
	twoNodes(t, nil, func(ctx context.Context, _ *coordtest.Plane, a, _ *coordtest.Node) {
		if _, err := rebind.JSON[map[string]string]("job").Put(ctx, a, "old", map[string]string{"user": "ann"}); err != nil {
			t.Fatal(err)
		}
		if old, err := upgradedJobs.Get(a.View(), "old"); err != nil || old.Value.Owner != "ann" {
			t.Errorf("read %+v, %v", old, err)
		}
	})
}
