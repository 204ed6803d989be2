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

// pipes is a listener whose connections a test makes in memory, so that a server
// works in virtual time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return local{c}, nil
}

// local is a connection of this machine.
type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// talk serves n's API on one connection, sends head and returns the answers.
func (n *peer) talk(t *testing.T, head string) *bufio.Reader {
	t.Helper()
	listener := make(pipes, 1)
	server := n.api.HTTPServer()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	ours, theirs := net.Pipe()
	listener <- theirs
	close(listener)
	t.Cleanup(func() { _ = ours.Close(); _ = server.Close(); serving.Wait() })
	if _, err := io.WriteString(ours, head); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(ours)
}

// heard reads one answer and the rest of the connection, to its end.
func heard(t *testing.T, from *bufio.Reader, status int) string {
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

// A body that says it is too large is refused at once: without reading it, and
// without asking a client for it that asks first.
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
					got := heard(t, a.talk(t, head), http.StatusRequestEntityTooLarge)
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

// A client that never ends its body keeps neither a connection nor a goroutine.
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
				heard(t, a.talk(t, c.line+" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12"), c.status)
				if took := time.Since(began); took > httpapi.BodyTimeout+time.Second {
					t.Errorf("cut off after %s, want %s", took, httpapi.BodyTimeout)
				}
			})
		})
	}
}

// The time of the body is not that of the answer.
func TestBody_ThatCameLeavesTheAnswerItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.Standby, modes.StateStandby)
		p.store.Cut("b") // it cannot load
		const body = `{"mode":"hot_standby"}`
		head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", wire.PathMode, len(body), body)
		began := time.Now()
		heard(t, b.talk(t, head), http.StatusAccepted)
		if took := time.Since(began); took != httpapi.ChangeTimeout {
			t.Errorf("answered after %s, want %s", took, httpapi.ChangeTimeout)
		}
	})
}
