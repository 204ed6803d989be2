// This file tests the limits of request bodies.

package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// pipeListener is a listener whose connections a test makes in memory, so that a server runs in
// virtual time.
type pipeListener chan net.Conn

func (p pipeListener) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return localConn{c}, nil
}

// localConn is a connection from this machine.
type localConn struct{ net.Conn }

func (localConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p pipeListener) Close() error { return nil }

func (p pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// talk serves n's API on one connection, sends head, and returns a reader of the answers.
func (n *peer) talk(t *testing.T, head string) *bufio.Reader {
	t.Helper()
	listener := make(pipeListener, 1)
	server := n.api.HTTPServer()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until the listener is closed
	ours, theirs := net.Pipe()
	listener <- theirs
	close(listener)
	t.Cleanup(func() { _ = ours.Close(); _ = server.Close(); serving.Wait() })
	if _, err := io.WriteString(ours, head); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(ours)
}

// readAnswer reads one answer and then the connection to its end.
func readAnswer(t *testing.T, from *bufio.Reader, status int) string {
	t.Helper()
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("answer %d %s, want %d", resp.StatusCode, body, status)
	}
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("the connection goes on with %q, %v", rest, err)
	}
	return string(body)
}

// A body that declares too large a size is refused at once, without being read and without "100
// Continue".
func TestBody_DeclaredTooLargeIsNotReadAtAll(t *testing.T) {
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		for name, line := range map[string]string{
			"put":      "PUT " + at("entity/x"),
			"mode":     "PUT " + wire.PathMode,
			"batch":    "POST " + wire.PathBatch,
			"handover": "POST " + wire.PathHandover,
		} {
			t.Run(name+" "+expect, func(t *testing.T) {
				inBubble(t, func(t *testing.T, p *plane) {
					a := p.lead("a")
					began := time.Now()
					head := fmt.Sprintf("%s HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n%s\r\n", line, expect)
					got := readAnswer(t, a.talk(t, head), http.StatusRequestEntityTooLarge)
					if !strings.Contains(got, "99999999") {
						t.Errorf("the answer does not say how large it was: %s", got)
					}
					if took := time.Since(began); took > time.Second {
						t.Errorf("answered after %s", took)
					}
				})
			})
		}
	}
}

// A client that never completes its body is cut off, with its connection and goroutine.
func TestBody_ThatNeverEndsIsCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		line   string
		status int
	}{
		"put":                     {"PUT " + at("entity/x"), http.StatusBadRequest},
		"delete":                  {"DELETE " + at("entity/x"), http.StatusRequestEntityTooLarge},
		"a read, of all requests": {"GET " + wire.PathNode, http.StatusOK},
		"an unknown path":         {"POST /v1/x", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				a := p.lead("a")
				began := time.Now()
				readAnswer(t, a.talk(t, c.line+" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12"), c.status)
				if took := time.Since(began); took > httpapi.BodyTimeout+time.Second {
					t.Errorf("cut off after %s, want %s", took, httpapi.BodyTimeout)
				}
			})
		})
	}
}

// The deadline of the body does not apply to the answer.
func TestBody_ThatCameLeavesTheAnswerItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.Standby, modes.StateStandby)
		p.store.Cut("b") // b cannot load
		const body = `{"mode":"hot_standby"}`
		head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", wire.PathMode, len(body), body)
		began := time.Now()
		readAnswer(t, b.talk(t, head), http.StatusAccepted)
		if took := time.Since(began); took != httpapi.ChangeTimeout {
			t.Errorf("answered after %s, want %s", took, httpapi.ChangeTimeout)
		}
	})
}
