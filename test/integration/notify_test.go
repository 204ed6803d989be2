package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// manager is the service manager's end of sd_notify: a real datagram socket.
type manager struct {
	mu   sync.Mutex // guards the field below
	told []string   // every line, in order
}

// newManager listens until the test is over.
func newManager(t *testing.T) (*manager, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := new(manager)
	var group sync.WaitGroup
	group.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, strings.Split(string(buf[:n]), "\n")...)
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		conn.Close()
		group.Wait()
	})
	return m, path
}

// count tells how often a line has come.
func (m *manager) count(line string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int
	for _, l := range m.told {
		if strings.HasPrefix(l, line) {
			n++
		}
	}
	return n
}

func (m *manager) heard() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// supervised starts a node under a service manager, with a watchdog.
func (c *cluster) supervised(id, mode, socket string, watchdog time.Duration, args ...string) *process {
	c.t.Helper()
	p := &process{t: c.t, name: id, cmd: exec.Command(coordinatorBin, c.runArgs(id, mode, args...)...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	p.begin()
	c.served(p)
	return p
}

// Promise: under systemd a node says when it has started, what it is, that it lives,
// and that it stops; it goes on saying that it lives while its store is away, as
// /livez does, and says nothing of it while it hangs.
func TestNotify_TellsTheServiceManager(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	m, socket := newManager(t)
	a := c.supervised("a", "auto", socket, 3*time.Second)
	eventually(t, maxWait, func() error {
		if m.count("READY=1") != 1 || m.count("STATUS=MASTER in plane p, term ") == 0 || m.count("WATCHDOG=1") == 0 {
			return fmt.Errorf("told %v", m.heard())
		}
		return nil
	})
	c.etcd.kill()
	eventually(t, maxWait, func() error {
		if m.count("STATUS=INITIALIZING")+m.count("STATUS=HOT_STANDBY") == 0 {
			return fmt.Errorf("told %v", m.heard())
		}
		return nil
	})
	before := m.count("WATCHDOG=1")
	eventually(t, maxWait, func() error {
		if m.count("WATCHDOG=1") < before+3 {
			return fmt.Errorf("the watchdog hears nothing while the store is away: %v", m.heard())
		}
		return nil
	})
	a.signal(syscall.SIGSTOP)
	<-time.After(500 * time.Millisecond) // what was on its way has come
	frozen := m.count("WATCHDOG=1")
	<-time.After(3 * time.Second)
	if m.count("WATCHDOG=1") != frozen {
		t.Error("a process that is frozen is said to live")
	}
	a.signal(syscall.SIGCONT)
	a.signal(syscall.SIGTERM)
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("exit %d", code)
	}
	eventually(t, maxWait, func() error {
		if m.count("STOPPING=1") != 1 {
			return fmt.Errorf("told %v", m.heard())
		}
		return nil
	})
}

// Promise: a node that may not start as it was asked to is never said to have started.
func TestNotify_ARefusedStartIsNoStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	m, socket := newManager(t)
	b := c.supervised("b", "standby", socket, 3*time.Second, "--wait-for-master", "2s")
	if code := b.exit(maxWait); code != 3 {
		t.Errorf("exit %d, want 3", code)
	}
	if m.count("READY=1") != 0 || m.count("STATUS=INITIALIZING in plane p") != 1 {
		t.Errorf("told %v", m.heard())
	}
}
