package integration_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fullPipe is a pipe that takes nothing more: whoever writes to it waits for a reader.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w = pipe(t)
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetNonblock(int(fd), true)
		for err == nil {
			_, err = syscall.Write(int(fd), make([]byte, 1024))
		}
		for more := error(nil); more == nil; {
			_, more = syscall.Write(int(fd), []byte{'\n'})
		}
		_ = syscall.SetNonblock(int(fd), false)
	})
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("fill a pipe: %v", err)
	}
	return r, w
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// spawnLogging starts the command with its log into a file.
func spawnLogging(t *testing.T, name string, log *os.File, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(coordinatorBin, args...), done: make(chan struct{})}
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup // kill waits for its end
	group.Go(func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its state is read by exit
	})
	t.Cleanup(p.kill)
	return p
}

// nodeLogging starts a node with its log into a file, and waits until its API is served.
func (c *cluster) nodeLogging(id, mode string, log *os.File, args ...string) *process {
	c.t.Helper()
	at := freeAddress(c.t)
	p := spawnLogging(c.t, id, log, c.runArgs(id, mode, append(args, "--listen", at)...)...)
	p.url = "http://" + at
	eventually(c.t, maxWait, func() error {
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended", id)
		default:
			return p.get("/v1/node", new(struct{}))
		}
	})
	return p
}

// Promise: no log call keeps a node from anything. One whose log nobody has ever read
// joins, leads when it is its turn, and hands over on SIGTERM.
func TestLog_ThatNobodyReads(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	_, w := fullPipe(t)
	b := c.nodeLogging("b", "hot_standby", w, "--log-level", "debug", "--priority", "1")
	b.await("HOT_STANDBY")
	d := c.node("d", "hot_standby")
	d.await("HOT_STANDBY")
	a.mustPut("entity/x", "1")
	a.kill()
	b.await("MASTER")
	b.mustPut("entity/x", "2")
	b.signal(syscall.SIGTERM)
	if code := b.exit(maxWait); code != 0 {
		t.Errorf("a clean stop whose log nobody reads exits with %d", code)
	}
	d.await("MASTER")
	if err := d.reads("entity/x", "2"); err != nil {
		t.Error(err)
	}
}

// Promise: a node whose log's reader has gone leads on, and hands over on SIGTERM.
func TestLog_WhoseReaderHasGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4*time.Second)
	r, w := pipe(t)
	a := c.nodeLogging("a", "auto", w, "--log-level", "debug")
	w.Close()
	a.await("MASTER")
	b := c.node("b", "hot_standby")
	b.await("HOT_STANDBY")
	r.Close()
	for range 3 {
		if code, _, said := command(t, "priority", "1", "--server", a.url); code != 0 {
			t.Fatalf("priority: exit %d: %s", code, said)
		}
		a.mustPut("entity/x", "1")
	}
	if err := a.is("MASTER"); err != nil {
		t.Fatal(err)
	}
	a.signal(syscall.SIGTERM)
	b.await("MASTER")
	if code := a.exit(maxWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if found := c.judge(); len(found.Terms) != 2 {
		t.Errorf("terms %+v, want two", found.Terms)
	}
}

// Promise: the store alone is no different, and two signals end what one does not.
func TestLog_OfTheStoreThatNobodyReads(t *testing.T) {
	t.Parallel()
	_, w := fullPipe(t)
	for name, signals := range map[string]int{"one signal": 1, "two": 2} {
		t.Run(name, func(t *testing.T) {
			at := freeAddress(t)
			p := spawnLogging(t, "store", w, "store", "--data-dir", filepath.Join(t.TempDir(), "data"), "--embed-client-url", "http://"+at)
			eventually(t, maxWait, func() error {
				conn, err := net.Dial("tcp", at)
				if err == nil {
					conn.Close()
				}
				return err
			})
			for range signals {
				_ = p.cmd.Process.Signal(syscall.SIGTERM)
			}
			if code := p.exit(maxWait); code != 0 && signals == 1 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
