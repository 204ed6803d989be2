package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/modes"
)

// binary builds the command once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "coordinator-bench-bin-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "coordinator")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/coordinator-ha/coordinator/cmd/coordinator").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return bin, nil
})

// command starts a node as a process.
func (h *lab) command(port int, args ...string) *exec.Cmd { return h.traced(nil, port, args...) }

// traced starts a node as a process that logs its garbage collections.
func (h *lab) traced(to *bytes.Buffer, port int, args ...string) *exec.Cmd {
	h.b.Helper()
	bin, err := binary()
	if err != nil {
		h.b.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"run", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--log-level", "error"}, args...)...)
	if to != nil {
		cmd.Env, cmd.Stderr = append(os.Environ(), "GODEBUG=gctrace=1"), to
	}
	if err := cmd.Start(); err != nil {
		h.b.Fatal(err)
	}
	h.onClose(func() { kill(cmd) })
	return cmd
}

// kill ends a process as a power failure would.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// awaits waits until the node at a port has a role.
func (h *lab) awaits(port int, role string) {
	h.b.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-time.After(2 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/role/%s", port, role))
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	h.b.Fatalf("the node at port %d is not %s", port, role)
}

const (
	ttl       = 4 * time.Second
	masterAt  = 27400
	standbyAt = 27401
)

// BenchmarkFailover compares, in seconds, the time from kill -9 of the master's process
// until its hot standby is MASTER with the time until etcd itself lets the dead node's
// lease expire, before which no node can be elected.
func BenchmarkFailover(b *testing.B) {
	h := newLab(b)
	endpoint := h.etcd.Endpoint()
	node := func(port int, id, mode string) *exec.Cmd {
		return h.command(port, "--endpoints", endpoint, "--node-id", id, "--mode", mode, "--plane", "failover",
			"--lease-ttl", ttl.String(), "--data-dir", h.dir())
	}
	var p pair
	var beyond []float64
	for b.Loop() {
		master := node(masterAt, "a", "auto")
		h.awaits(masterAt, "master")
		standby := node(standbyAt, "b", "hot_standby")
		h.awaits(standbyAt, "promotable")
		<-time.After(queued)
		expired := h.expiry("/coordinator/failover/nodes/a")
		began := time.Now()
		kill(master)
		h.awaits(standbyAt, "master")
		led := time.Now()
		gone := <-expired
		p.ours = append(p.ours, led.Sub(began).Seconds())
		p.bare = append(p.bare, gone.Sub(began).Seconds())
		beyond = append(beyond, led.Sub(gone).Seconds())
		kill(standby)
		h.forget("/coordinator/failover/")
	}
	p.report(b)
	b.ReportMetric(median(beyond), "beyond-s")
}

// dir is a directory that is removed when the etcd is closed.
func (h *lab) dir() string {
	h.b.Helper()
	dir, err := os.MkdirTemp("", "coordinator-bench-node-")
	if err != nil {
		h.b.Fatal(err)
	}
	h.onClose(func() { _ = os.RemoveAll(dir) })
	return dir
}

// expiry says when etcd deletes a key that exists.
func (h *lab) expiry(key string) <-chan time.Time {
	h.b.Helper()
	gone := make(chan time.Time, 1)
	watch := h.bare.Watch(h.b.Context(), key)
	go func() {
		for resp := range watch {
			for _, ev := range resp.Events {
				if ev.Type == clientv3.EventTypeDelete {
					gone <- time.Now()
					return
				}
			}
		}
	}()
	return gone
}

// forget deletes a plane.
func (h *lab) forget(prefix string) {
	h.b.Helper()
	if _, err := h.bare.Delete(h.b.Context(), prefix, clientv3.WithPrefix()); err != nil {
		h.b.Fatal(err)
	}
}

// BenchmarkRestart kills a node and starts it again with its own data directory: the
// seconds until it leads, minus those that a process takes to start, with a TTL of a
// minute.
func BenchmarkRestart(b *testing.B) {
	h := newLab(b)
	dir := h.dir()
	start := func() *exec.Cmd {
		return h.command(masterAt, "--endpoints", h.etcd.Endpoint(), "--node-id", "a", "--plane", "restart",
			"--lease-ttl", "1m", "--data-dir", dir)
	}
	cmd := start()
	h.awaits(masterAt, "master")
	var p pair
	for b.Loop() {
		kill(cmd)
		began := time.Now()
		bin, _ := binary()
		if err := exec.Command(bin, "version").Run(); err != nil {
			b.Fatal(err)
		}
		started := time.Since(began)
		began = time.Now()
		cmd = start()
		h.awaits(masterAt, "master")
		p.bare = append(p.bare, started.Seconds())
		p.ours = append(p.ours, (time.Since(began) - started).Seconds())
	}
	p.report(b)
}

// BenchmarkIdle counts the revisions that an idle plane of four nodes makes in ten seconds.
func BenchmarkIdle(b *testing.B) {
	h := newLab(b)
	h.node("a", modes.Auto)
	for id, mode := range map[string]modes.Mode{"b": modes.HotStandby, "c": modes.HotBackup, "d": modes.Standby} {
		h.node(id, mode)
	}
	<-time.After(2 * time.Second)
	var p pair
	for b.Loop() {
		before := h.revision()
		<-time.After(10 * time.Second)
		p.ours = append(p.ours, float64(h.revision()-before))
	}
	b.ReportMetric(median(p.ours), "ours")
}

func (h *lab) revision() int64 {
	h.b.Helper()
	resp, err := h.bare.Get(h.b.Context(), "x")
	if err != nil {
		h.b.Fatal(err)
	}
	return resp.Header.Revision
}
