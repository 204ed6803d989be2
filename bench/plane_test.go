//go:build unix

package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
)

// BenchmarkPlane measures planes of many nodes, all in this process with etcd: the cost of
// all nodes starting at once, of ten seconds without any event, and of the master's lease
// being lost. A figure called growth is one node's share in this plane relative to its
// share in the smallest one: a cost that grows with the square of the number of nodes is
// four where there are four times as many.
func BenchmarkPlane(b *testing.B) {
	smallest := make(map[string]float64) // a node's share
	for _, nodes := range []int{50, 100, 200} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			found := make(map[string][]float64)
			for b.Loop() {
				measurePlane(b, nodes, func(figure string, value float64) { found[figure] = append(found[figure], value) })
			}
			for figure, all := range found {
				value := median(all)
				b.ReportMetric(value, figure)
				if strings.HasSuffix(figure, "-s") && !strings.HasSuffix(figure, "cpu-s") {
					continue // a time of the whole plane, not per node
				}
				share := value / float64(nodes)
				if first, ok := smallest[figure]; ok && first > 0 {
					b.ReportMetric(share/first, figure+"-growth")
				} else {
					smallest[figure] = share
				}
			}
			b.ReportMetric(0, "ns/op") // the time of a round means nothing
		})
	}
}

// manyNodes is a plane of many nodes.
type manyNodes struct {
	lab   *lab
	nodes []*coordinator.Node
	led   chan string // the nodes that became MASTER
}

// measurePlane runs one plane through its life.
func measurePlane(b *testing.B, nodes int, tell func(figure string, value float64)) {
	b.Helper()
	c := &manyNodes{lab: newLab(b), led: make(chan string, nodes)}
	defer c.lab.close()
	phase := func(name string, last func()) {
		before := c.lab.spent()
		last()
		after := c.lab.spent()
		for what, value := range after {
			tell(name+"-"+what, value-before[what])
		}
	}
	began := time.Now()
	var master string
	phase("start", func() {
		c.start(nodes)
		master = c.master()
		c.rests()
		tell("start-s", time.Since(began).Seconds())
	})
	c.quiet()
	phase("idle", func() { <-time.After(10 * time.Second) })
	tell("idle-watchers", c.lab.metrics()["etcd_debugging_mvcc_watcher_total"])
	tell("idle-leases", c.lab.leases())
	phase("failover", func() {
		began := time.Now()
		c.lab.revoke("/coordinator/bench/nodes/" + master)
		for c.master() == master {
			b.Fatal("the node whose lease was revoked leads again")
		}
		tell("failover-s", time.Since(began).Seconds())
		c.rests()
		c.quiet()
	})
}

// start starts all nodes at once.
func (c *manyNodes) start(nodes int) {
	c.lab.b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	stores := make([]*etcdstore.Store, nodes)
	c.lab.onClose(func() { cancel(); running.Wait() })
	for i := range stores {
		stores[i] = c.lab.store()
	}
	for i, store := range stores {
		id := fmt.Sprintf("node-%03d", i)
		n, err := coordinator.New(coordinator.Config{
			ID: id, Plane: "bench", URI: "http://" + id, Version: "1.0.0", Mode: modes.Auto,
			Observe: func(t coordinator.Transition) {
				if t.To == modes.StateMaster {
					c.led <- id
				}
			},
		}, store)
		if err != nil {
			c.lab.b.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
		running.Go(func() {
			if err := n.Run(ctx); err != nil {
				c.lab.b.Errorf("%s: %v", id, err)
			}
		})
	}
}

// master waits until a node leads, and returns it.
func (c *manyNodes) master() string {
	c.lab.b.Helper()
	select {
	case id := <-c.led:
		return id
	case <-time.After(5 * time.Minute):
		c.lab.b.Fatal("nobody leads")
		return ""
	}
}

// rests waits until every node either leads or stands by.
func (c *manyNodes) rests() {
	c.lab.b.Helper()
	for limit := time.Now().Add(5 * time.Minute); ; <-time.After(50 * time.Millisecond) {
		resting := 0
		for _, n := range c.nodes {
			if s := n.Status(); s.State == modes.StateMaster || s.State == modes.StateHotStandby && s.InElection {
				resting++
			}
		}
		if resting == len(c.nodes) {
			return
		}
		if time.Now().After(limit) {
			c.lab.b.Fatalf("%d of %d nodes are at rest", resting, len(c.nodes))
		}
	}
}

// quiet waits until etcd's revision has not changed for a second.
func (c *manyNodes) quiet() {
	for last := int64(0); ; {
		now := c.lab.revision()
		if now == last {
			return
		}
		last = now
		<-time.After(time.Second)
	}
}

// spent returns the costs so far.
func (h *lab) spent() map[string]float64 {
	h.b.Helper()
	m := h.metrics()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		h.b.Fatal(err)
	}
	cpu := time.Duration(use.Utime.Nano() + use.Stime.Nano())
	return map[string]float64{
		"cpu-s":     cpu.Seconds(),
		"revisions": float64(h.revision()),
		"events":    m["etcd_debugging_mvcc_events_total"],
		"MB":        m["etcd_network_client_grpc_sent_bytes_total"] / 1e6,
	}
}

// metrics reads etcd's metrics that have no labels.
func (h *lab) metrics() map[string]float64 {
	h.b.Helper()
	resp, err := http.Get(h.etcd.Endpoint() + "/metrics")
	if err != nil {
		h.b.Fatal(err)
	}
	defer resp.Body.Close()
	found := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil {
			found[name] = value
		}
	}
	return found
}

// leases counts etcd's leases.
func (h *lab) leases() float64 {
	h.b.Helper()
	resp, err := h.bare.Leases(h.b.Context())
	if err != nil {
		h.b.Fatal(err)
	}
	return float64(len(resp.Leases))
}

// revoke revokes the lease of a key.
func (h *lab) revoke(key string) {
	h.b.Helper()
	resp, err := h.bare.Get(h.b.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		h.b.Fatalf("lease of %s: %v, %v", key, resp, err)
	}
	if _, err := h.bare.Revoke(h.b.Context(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		h.b.Fatal(err)
	}
}
