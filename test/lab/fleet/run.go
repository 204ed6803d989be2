package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Report is what a run leaves behind.
type Report struct {
	Evidence *evidence.Run
	// Complaints are faults that the evidence does not show: processes said or did
	// something forbidden, or the plane did not come to rest.
	Complaints []string
}

// Mixed are five nodes of all kinds, the last of them with one processor and frequent
// garbage collections.
func Mixed() []NodeConfig {
	return []NodeConfig{
		{ID: "a", Mode: "auto"},
		{ID: "b", Mode: "hot_standby"},
		{ID: "c", Mode: "standby"},
		{ID: "d", Mode: "hot_backup"},
		{ID: "e", Mode: "auto", Env: []string{"GOMAXPROCS=1", "GOGC=10"}},
	}
}

// clients is how many clients work on a plane.
const clients = 8

// Perform runs a fleet through a plan: it starts the fleet and its clients, executes the
// plan, and brings the plane to rest. With an error the run proves nothing; the report has
// what was seen until then.
func Perform(ctx context.Context, cfg Config, p Plan, length time.Duration) (Report, error) {
	cfg.Seed, cfg.TTL = p.Seed, p.TTL
	f, err := Start(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	f.Work(ctx)
	err = f.Execute(ctx, p, length)
	f.note(func(run *evidence.Run) { run.Enough = int(f.Now() / time.Second * leastRate) })
	report, told := f.Finish(ctx)
	return report, errors.Join(err, told, f.Close())
}

// late is how late a process on a shared machine may react to its clock.
const late = 450 * time.Millisecond

// leastRate is how many writes per second must have been acknowledged over a run.
const leastRate = 3

// Work starts clients, the recording of copies, and the watching of store and machine,
// until the fleet is finished.
func (f *Fleet) Work(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	working, idle := context.WithCancel(ctx)
	watching, rest := context.WithCancel(ctx)
	f.idle, f.unwatched = idle, rest
	f.observer = evidence.Observe(ctx, f.store, root)
	for i := range clients {
		f.workers.Go(func() { f.newClient(fmt.Sprint("c", i)).work(working) })
	}
	f.workers.Go(func() { f.watchCopies(working) })
	f.watchers.Go(func() { f.feelPulse(watching) })
}

// Finish ends the clients, brings the plane to rest and returns what the run leaves behind.
// All faults must have been healed.
func (f *Fleet) Finish(ctx context.Context) (Report, error) {
	f.idle()
	f.workers.Wait()
	atRest := f.rest(ctx)
	if atRest != nil {
		f.complain("I-34: %v", atRest)
	}
	f.unwatched()
	f.watchers.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitLimit)
	defer cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.observer.Finish(ctx, f.store, &f.run)
	f.run.Slack = late
	for _, n := range f.Nodes {
		if atRest == nil {
			f.run.Alive = append(f.run.Alive, n.ID)
		}
		for _, p := range f.runs[n.ID] {
			s := f.storyOf(p)
			s.tell(&f.run, f.Now())
		}
	}
	return Report{&f.run, slices.Concat(f.wrong, f.complaints())}, err
}

// complaints are what processes said or did although it is forbidden. The caller holds the
// lock.
func (f *Fleet) complaints() (found []string) {
	for name, runs := range f.runs {
		for _, p := range runs {
			if p.Ended() && !p.expected.Load() {
				found = append(found, fmt.Sprintf("%s has ended by itself: %s", name, p.cmd.ProcessState))
			}
		}
		log, err := os.ReadFile(filepath.Join(f.logs(), name+".log"))
		if err != nil {
			found = append(found, err.Error())
		}
		found = append(found, alarms(name, log)...)
	}
	return found
}

// rest waits for the state that a plane must reach when all faults are healed: one master,
// a record of each node, an acknowledged write, and copies that contain it.
func (f *Fleet) rest(ctx context.Context) error {
	limit := f.cfg.TTL + time.Second + 2*time.Second + 5*time.Second + slack
	canary := f.newClient("canary")
	var sung int64 // the revision of the canary's write
	return await(ctx, limit, func(ctx context.Context) error {
		leader, err := f.soleMaster(ctx)
		if err != nil {
			return err
		}
		if err := f.recorded(ctx); err != nil {
			return err
		}
		if sung == 0 {
			op := canary.write(ctx, leader, "canary/one")
			if f.record(op); op.Outcome != evidence.OK {
				return fmt.Errorf("canary through %s: %s: %w", leader.ID, op.Why, errNotServing)
			}
			sung = op.Revision
		}
		return f.takeCopies(ctx, sung)
	})
}

// takeCopies records the copies of all nodes that have one, and checks that they have
// reached a revision.
func (f *Fleet) takeCopies(ctx context.Context, least int64) error {
	for _, n := range f.Nodes {
		s, err := n.State(ctx)
		if err == nil && s.State != "STANDBY" {
			err = f.takeCopy(ctx, n, least)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// soleMaster returns the one node that says it is MASTER.
func (f *Fleet) soleMaster(ctx context.Context) (leader *Node, err error) {
	for _, n := range f.Nodes {
		s, err := n.State(ctx)
		switch {
		case err != nil:
			return nil, err
		case s.State == master && leader != nil:
			return nil, fmt.Errorf("%s and %s say that they lead: %w", leader.ID, n.ID, errNoMaster)
		case s.State == master:
			leader = n
		}
	}
	if leader == nil {
		return nil, errNoMaster
	}
	return leader, nil
}

// recorded checks that each node has a record in the store.
func (f *Fleet) recorded(ctx context.Context) error {
	resp, err := f.store.Get(ctx, root+"nodes/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	var there []string
	for _, kv := range resp.Kvs {
		there = append(there, strings.TrimPrefix(string(kv.Key), root+"nodes/"))
	}
	if len(there) != len(f.Nodes) {
		return fmt.Errorf("%v have records, of %d nodes: %w", there, len(f.Nodes), errNotServing)
	}
	return nil
}

// Write puts one memento through a node, as a new client, and records the answer. It
// reports whether the write was acknowledged.
func (f *Fleet) Write(ctx context.Context, client string, n *Node, name string) bool {
	op := f.newClient(client).write(ctx, n, name)
	f.record(op)
	return op.Outcome == evidence.OK
}

// write puts one memento through a node.
func (c *client) write(ctx context.Context, n *Node, name string) evidence.Op {
	c.asked++
	op := evidence.Op{Client: c.id, Node: n.ID, Changes: []evidence.Change{{Name: name, Payload: c.payload(0)}}, Sent: c.fleet.Now()}
	c.ask(ctx, &op, request{method: http.MethodPut, url: n.url + "/v1/mementos/" + name, body: []byte(op.Changes[0].Payload)})
	if op.Outcome != evidence.Unknown {
		op.Answered = c.fleet.Now()
	}
	return op
}

// record records an operation.
func (f *Fleet) record(op evidence.Op) {
	f.note(func(run *evidence.Run) {
		run.Ops = append(run.Ops, op)
		if op.Outcome == evidence.OK {
			f.okays++
		}
	})
}
