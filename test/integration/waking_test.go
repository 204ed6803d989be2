package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sends leaves a request in the buffers of a node, and returns the connection.
func (p *process) sends(method, path, body string) net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body); err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// freeze stops a process, and returns once each of its threads stands.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, maxWait, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("threads %v: %w", threads, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				return err
			}
			if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
				return fmt.Errorf("%s: %.20s", thread, state)
			}
		}
		return nil
	})
}

// notBegun wants the answer to be that the write was not begun.
func notBegun(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(maxWait))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "not-begun") {
		t.Errorf("answer to what waited: %d %s %v", resp.StatusCode, body, err)
	}
}

// Promise: what a node that was frozen finds in its buffers on waking does not come over
// what was written since: not if its caller has gone, however short it was, nor, after
// more than a second, if it still waits. The node is one that forwards, and the master.
func TestWaking_WritesThatWaitedAreNotBegun(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 30*time.Second) // the master stays master
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_backup")
	b.await("HOT_BACKUP")
	for round := range 12 {
		frozen, other, slept := b, a, 1500*time.Millisecond
		gone := round%2 == 0
		if gone {
			slept = 300 * time.Millisecond
		}
		if round%4 >= 2 {
			frozen, other = a, b
		}
		name := fmt.Sprintf("entity/r%d", round)
		a.mustPut(name, "0")
		frozen.freeze()
		thaw := time.After(slept)
		var waiting []net.Conn
		for range 8 {
			conn := frozen.sends(http.MethodPut, "/v1/mementos/"+name, "late")
			if gone {
				_ = conn.Close()
			} else {
				waiting = append(waiting, conn)
			}
		}
		if !gone {
			waiting = append(waiting, frozen.sends(http.MethodPost, "/v1/plane/pause", "{}"), frozen.sends(http.MethodPut, "/v1/node/priority", `{"priority":7}`))
		}
		if other == a {
			for i := range 7 {
				a.mustPut(name, fmt.Sprint(i+1))
			}
		}
		<-thaw
		frozen.signal(syscall.SIGCONT)
		for _, conn := range waiting {
			notBegun(t, conn)
		}
		eventually(t, maxWait, func() error { // what comes now is taken
			if got, err := frozen.put(fmt.Sprintf("entity/after%d", round), []byte("1")); err != nil || got.status/100 != 2 {
				return fmt.Errorf("%+v %w", got, err)
			}
			return nil
		})
		want := "0"
		if other == a {
			want = "7"
		}
		if err := a.reads(name, want); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	var plane struct {
		Paused bool `json:"paused"`
	}
	if err := a.get("/v1/plane", &plane); err != nil || plane.Paused {
		t.Errorf("paused: %t, %v", plane.Paused, err)
	}
}
