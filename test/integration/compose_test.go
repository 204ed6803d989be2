package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// Promise: docker-compose.yml brings up a plane that lives through what happens to
// containers, with every write that was acknowledged: the master's is killed, one is cut
// off its network, one etcd stops and then a second, and all are killed at once.
func TestCompose_SurvivesWhatHappensToContainers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		t.Skipf("not run: no Docker engine answers: %v %.200s", err, out)
	}
	c := newComposition(t)
	steps := readmeSteps(t, "shell-session")
	if len(steps) < 6 {
		t.Fatalf("found only %d steps in the README", len(steps))
	}
	for _, s := range steps { // which end with the killed master's return
		c.follow(s)
	}
	auto, hot, backup := c.node("auto"), c.node("hot-standby"), c.node("hot-backup")
	auto.await("HOT_STANDBY")
	c.healthy("auto")
	stranger := &process{t: t, name: "auto", url: auto.url}
	if a, err := stranger.put("note/greeting", nil); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("a put without a token: %+v %v, want 401", a, err)
	}
	j := keepJournal(t, auto, hot, backup)

	j.more("through a plane that is whole")
	c.cutOff("hot-standby", auto)
	j.more("after a master was cut off")

	c.compose("stop", "etcd1")
	j.more("with two members of etcd")
	c.compose("stop", "etcd2")
	j.none("without a quorum")
	c.compose("start", "etcd1", "etcd2")
	j.more("when etcd has a quorum again")

	c.compose("kill")
	c.compose("up", "--no-build", "--detach")
	eventually(t, maxWait, func() error { return whole(auto, 4) })
	j.more("after all were killed at once")
	j.close()
	for _, n := range []*process{auto, hot, backup} {
		j.heldBy(n)
	}
}

// whole returns nil when a plane of so many nodes has a master and each node is what
// it is to be. Who leads is for them to decide.
func whole(asked *process, nodes int) error {
	var plane struct {
		Master *string
		Nodes  []struct{ ID, State string }
	}
	if err := asked.get("/v1/plane", &plane); err != nil {
		return err
	}
	if plane.Master == nil || len(plane.Nodes) != nodes {
		return fmt.Errorf("the plane is %+v, want %d nodes and a master", plane, nodes)
	}
	for _, n := range plane.Nodes {
		if leads := n.ID == *plane.Master; n.State == "INITIALIZING" || n.State == "FAILED" || leads != (n.State == "MASTER") {
			return fmt.Errorf("%s leads, and %s is %s", *plane.Master, n.ID, n.State)
		}
	}
	return nil
}

// cutOff takes the master off the network until it knows that it leads no more, while
// the other takes over, and brings it back.
func (c *composition) cutOff(master string, other *process) {
	c.t.Helper()
	id := c.container(master)
	c.node(master).await("MASTER")
	c.run("docker", "network", "disconnect", c.network(), id)
	eventually(c.t, maxWait, func() error {
		if c.says(master, "health", "master") == 0 {
			return fmt.Errorf("%s is cut off and says that it leads", master)
		}
		return nil
	})
	other.await("MASTER")
	if c.says(master, "health", "live") != 0 {
		c.t.Errorf("%s is cut off, which is no reason to restart it", master)
	}
	c.run("docker", "network", "connect", "--alias", master, c.network(), id)
	c.node(master).await("HOT_STANDBY")
}

// journal puts one new memento after the other through several nodes, and keeps
// account of those that were acknowledged.
type journal struct {
	t      *testing.T
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex // guards the field below
	acked []string   // ids, which are the payloads too
}

func keepJournal(t *testing.T, through ...*process) *journal {
	ctx, cancel := context.WithCancel(t.Context())
	j := &journal{t: t, cancel: cancel}
	for i, n := range through {
		j.group.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				j.one(ctx, n, fmt.Sprintf("%d-%d", i, k))
			}
		})
	}
	t.Cleanup(j.close)
	return j
}

// one sends one write.
func (j *journal) one(ctx context.Context, n *process, id string) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := call(bounded, http.MethodPut, n.url+"/v1/mementos/entity/"+id, n.header, []byte(id))
	if err == nil && a.status == http.StatusCreated {
		j.mu.Lock()
		j.acked = append(j.acked, id)
		j.mu.Unlock()
	}
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.acked)
}

// more waits for writes that are acknowledged.
func (j *journal) more(when string) {
	j.t.Helper()
	before := j.count()
	eventually(j.t, maxWait, func() error {
		if n := j.count(); n < before+20 {
			return fmt.Errorf("%d writes acknowledged %s", n-before, when)
		}
		return nil
	})
}

// none sees that nothing is acknowledged any more for longer than a write waits.
func (j *journal) none(when string) {
	j.t.Helper()
	last, since := j.count(), time.Now()
	eventually(j.t, maxWait, func() error {
		if n := j.count(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < 6*time.Second {
			return fmt.Errorf("writes are acknowledged %s", when)
		}
		return nil
	})
}

// close ends the writing.
func (j *journal) close() {
	j.cancel()
	j.group.Wait()
}

// heldBy sees that a node has all that was acknowledged.
func (j *journal) heldBy(n *process) {
	j.t.Helper()
	held := make(map[string]string)
	query := url.Values{"type": {"entity"}, "limit": {"5000"}, "values": {"true"}, "consistent": {"true"}}
	for next := "first"; next != ""; {
		var page struct {
			Items []struct {
				ID   string
				Data []byte `json:"data_base64"`
			}
			Next string
		}
		if err := n.get("/v1/mementos?"+query.Encode(), &page); err != nil {
			j.t.Fatal(err)
		}
		for _, m := range page.Items {
			held[m.ID] = string(m.Data)
		}
		next = page.Next
		query.Set("after", next)
	}
	var lost error
	for _, id := range j.acked {
		if held[id] != id {
			lost = errors.Join(lost, fmt.Errorf("%s: was acknowledged and is %q", id, held[id]))
		}
	}
	if lost != nil {
		j.t.Errorf("%s has lost:\n%v", n.name, lost)
	}
}
