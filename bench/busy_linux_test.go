package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

const (
	busyAt = 27402
	// busySize is the payload size of BenchmarkBusy's mementos.
	busySize = 1024
	// The rate of updates, and how many go into one transaction.
	updates, together = 10_000, 100
	// burst is how many mementos are deleted at one revision.
	burst = 100_000
)

// BenchmarkBusy has a hot backup in a process of its own follow ten thousand updates a
// second of a million mementos of 1 KiB, and then the deletion of a hundred thousand at
// once. It reports the peak of resident memory over keys and payloads, the share of
// processor time spent by the collector, and how long after the last update and after the
// deletion the copy is complete.
func BenchmarkBusy(b *testing.B) {
	h := newLab(b)
	n := million(b)
	h.fill(n, busySize)
	for b.Loop() {
		var trace bytes.Buffer
		cmd := h.traced(&trace, busyAt, "--endpoints", h.etcd.Endpoint(), "--node-id", "c", "--mode", "hot_backup", "--plane", "bench", "--data-dir", h.dir())
		h.awaits(busyAt, "hot_backup")
		stop := h.watchResident(cmd.Process.Pid)
		last := h.update(n)
		lag := h.caughtUp(last, n)
		most := stop()
		resp, err := h.bare.Delete(b.Context(), "/coordinator/bench/mementos/filler/", clientv3.WithRange(fmt.Sprintf("/coordinator/bench/mementos/filler/%08d", burst)))
		if err != nil {
			b.Fatal(err)
		}
		gone := h.caughtUp(resp.Header.Revision, n-burst)
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		b.ReportMetric(float64(most)/float64(n*(busySize+len("filler/00000000"))), "resident-ratio")
		b.ReportMetric(collector(&trace), "gc-%")
		b.ReportMetric(lag.Seconds(), "lag-s")
		b.ReportMetric(gone.Seconds(), "burst-s")
		h.fill(burst, busySize)
	}
	b.ReportMetric(0, "ns/op") // the time of a round means nothing
}

// update changes random mementos at an even rate for ten seconds, and returns the revision
// of the last change.
func (h *lab) update(n int) (last int64) {
	h.b.Helper()
	value := fmt.Sprintf("memento/1 node=bench term=1 op=BUSY type=application/octet-stream\n%s", make([]byte, busySize))
	var mu sync.Mutex
	var flying sync.WaitGroup
	tick := time.NewTicker(time.Second * together / updates)
	defer tick.Stop()
	for range 10 * updates / together {
		<-tick.C
		changed := make(map[int]bool)
		for len(changed) < together {
			changed[rand.IntN(n)] = true
		}
		ops := make([]clientv3.Op, 0, together)
		for i := range changed {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/coordinator/bench/mementos/filler/%08d", i), value))
		}
		flying.Go(func() {
			resp, err := h.bare.Txn(h.b.Context()).Then(ops...).Commit()
			if err != nil {
				h.b.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			last = max(last, resp.Header.Revision)
		})
	}
	flying.Wait()
	return last
}

// caughtUp waits until the copy has reached a revision and a number of mementos, and
// returns how long that took.
func (h *lab) caughtUp(revision int64, count int) time.Duration {
	h.b.Helper()
	var last *wire.Mirror
	for began := time.Now(); time.Since(began) < time.Minute; <-time.After(time.Millisecond) {
		var n wire.Node
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/node", busyAt))
		if err != nil {
			h.b.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&n)
		resp.Body.Close()
		if err != nil {
			h.b.Fatal(err)
		}
		last = n.Mirror
		if last != nil && last.Revision >= revision && last.Count == count {
			return time.Since(began)
		}
	}
	h.b.Fatalf("the copy does not reach revision %d with %d mementos: %+v", revision, count, last)
	return 0
}

// watchResident watches a process until stop is called, which returns the peak of its
// resident memory in bytes.
func (h *lab) watchResident(pid int) (stop func() int64) {
	ctx, cancel := context.WithCancel(h.b.Context())
	var most int64
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			now, err := resident(pid)
			if err != nil {
				h.b.Error(err)
				return
			}
			most = max(most, now)
			<-tick.C
		}
	})
	return func() int64 {
		cancel()
		group.Wait()
		return most
	}
}

// resident is the resident memory of a process in bytes.
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		return 0, errors.New("no VmRSS")
	}
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kb << 10, err
}

// collector is the share of processor time, in percent, that a process has spent on garbage
// collection since it started, as it reports itself.
func collector(trace *bytes.Buffer) float64 {
	all := regexp.MustCompile(`(?m)^gc \d+ @[\d.]+s (\d+)%:`).FindAllSubmatch(trace.Bytes(), -1)
	if len(all) == 0 {
		return 0
	}
	part, _ := strconv.ParseFloat(string(all[len(all)-1][1]), 64)
	return part
}
