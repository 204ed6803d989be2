package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A payload is printed as it is stored, except on a terminal.
func TestGet_OnATerminal(t *testing.T) {
	pty, tty := terminal(t)
	handler := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a\x1b[31mb\xff\n") }
	node := httptest.NewServer(aNode(handler))
	defer node.Close()
	for _, c := range []struct {
		out  io.Writer
		read func() string
		want string
	}{
		{tty, func() string {
			line := make([]byte, 1<<10)
			n, err := pty.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			return string(line[:n])
		}, `a\x1b[31mb\xff` + "\r\n"},
		{new(bytes.Buffer), nil, "a\x1b[31mb\xff\n"},
	} {
		code := execute(t.Context(), []string{"memento", "get", "entity/x", "--server", node.URL}, streams{out: c.out, err: io.Discard})
		got := fmt.Sprint(c.out)
		if c.read != nil {
			got = c.read()
		}
		if code != exitDone || got != c.want {
			t.Errorf("exit code %d, printed %q, want %q", code, got, c.want)
		}
	}
}

// terminal opens both ends of a pseudo-terminal.
func terminal(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = pty.Close() })
	number, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return pty, tty
}
