// This file tests the limits on clients' time and on streams.

package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// raw serves n's API on one connection in virtual time and returns the other end.
func (n *peer) raw(t *testing.T) net.Conn {
	t.Helper()
	listener := make(pipeListener, 1)
	server := n.api.HTTPServer()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until the listener is closed
	ours, theirs := net.Pipe()
	listener <- theirs
	close(listener)
	t.Cleanup(func() { _ = ours.Close(); _ = server.Close(); serving.Wait() })
	return ours
}

// cut waits until the server has closed a connection, and returns how long that took.
func cut(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if text, err := io.ReadAll(conn); err != nil || len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 4") {
		t.Errorf("before it is closed the connection says %q, %v", text, err)
	}
	return time.Since(began)
}

// Promise: a client that does not complete its request, or does not send the next one, is cut
// off.
func TestLimits_OfSilence(t *testing.T) {
	for name, c := range map[string]struct {
		head  string
		drips bool
		limit time.Duration
	}{
		"nothing at all":          {"", false, httpapi.HeaderTimeout},
		"half a line":             {"GET /v1/no", false, httpapi.HeaderTimeout},
		"a header without end":    {"GET /v1/node HTTP/1.1\r\nHost: a\r\n", true, httpapi.HeaderTimeout},
		"silence after a request": {"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", false, httpapi.IdleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				conn := p.lead("a").raw(t)
				if _, err := io.WriteString(conn, c.head); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(c.head, "\r\n\r\n") {
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("answer %v, %v", resp, err)
					}
				}
				var dripping sync.WaitGroup
				if c.drips {
					dripping.Go(func() {
						for {
							<-time.After(time.Second)
							if _, err := io.WriteString(conn, "X-More: 1\r\n"); err != nil {
								return
							}
						}
					})
				}
				if took := cut(t, conn); took > c.limit+time.Second || took < c.limit-time.Second {
					t.Errorf("cut off after %s, want %s", took, c.limit)
				}
				conn.Close()
				dripping.Wait()
			})
		})
	}
}

func TestLimits_OfHeaders(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		for size, want := range map[int]int{httpapi.MaxHeader / 2: http.StatusOK, 2 * httpapi.MaxHeader: http.StatusRequestHeaderFieldsTooLarge} {
			conn := a.raw(t)
			var sending sync.WaitGroup
			sending.Go(func() { // it does not matter if it is not read
				_, _ = fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", size))
			})
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != want {
				t.Errorf("a header of %d bytes: %v, %v, want %d", size, resp, err, want)
			}
			conn.Close()
			sending.Wait()
			<-time.After(time.Second) // the server still reads from a client that it has refused
		}
	})
}

// Promise: an answer that the client does not read is given up, with its connection.
func TestLimits_AnswerThatIsNotTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Put("blob/large", rebind.Content{Payload: make([]byte, maxPayload)}, "")
		conn := p.lead("a").raw(t)
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", at("blob/large")); err != nil {
			t.Fatal(err)
		}
		<-time.After(httpapi.AnswerTimeout + time.Second)
		if n, err := io.Copy(io.Discard, conn); n > maxPayload/2 {
			t.Errorf("%d bytes come after all, %v", n, err)
		}
	})
}

// Promise: a stream may last longer than any other answer: a watch that is read, an export that
// is read slowly, an import that is sent slowly.
func TestLimits_StreamsOutlastThem(t *testing.T) {
	const long = 3 * httpapi.AnswerTimeout
	inBubble(t, func(t *testing.T, p *plane) {
		for i := range 120 {
			p.store.Put(rebind.Name(fmt.Sprintf("blob/b%d", i)), rebind.Content{Payload: make([]byte, maxPayload)}, "")
		}
		a := p.lead("a")
		a.connect(t)
		s := a.subscribe(t, "")
		var exporting sync.WaitGroup
		exporting.Go(func() {
			resp, err := (&http.Client{Transport: a.client.Transport}).Get(a.url + wire.PathExport)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			size, part := 0, make([]byte, 64<<10) // a quarter of what the node sends at once
			for err == nil {
				var n int
				n, err = io.ReadFull(resp.Body, part)
				size += n
				<-time.After(httpapi.BodyTimeout / 5)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || size < 120*maxPayload {
				t.Errorf("the export ends after %d bytes: %v", size, err)
			}
		})
		began := time.Now()
		for time.Since(began) < long {
			if _, err := s.next(); err != nil {
				t.Fatalf("the watch ends after %s: %v", time.Since(began), err)
			}
		}
		exporting.Wait()
		if took := time.Since(began); took < long {
			t.Errorf("the export took only %s", took)
		}
	})
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		archive := pack(t, []rebind.Name{"blob/all"}, exampleState)
		out, in := io.Pipe()
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := range archive {
				if _, err := in.Write(archive[i : i+1]); err != nil {
					return
				}
				<-time.After(long / time.Duration(len(archive)))
			}
			in.Close()
		})
		began := time.Now()
		resp, err := (&http.Client{Transport: a.client.Transport}).Post(a.url+wire.PathImport, wire.Archive, out)
		if err != nil {
			t.Fatalf("the import ends after %s: %v", time.Since(began), err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || time.Since(began) < long-time.Second {
			t.Errorf("answer %d after %s", resp.StatusCode, time.Since(began))
		}
		sending.Wait()
	})
}

// Promise: a stream beyond the limit is refused with the reason, and the end of a stream makes
// room for another.
func TestLimits_OfStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Put("blob/large", rebind.Content{Payload: make([]byte, maxPayload)}, "")
		a := p.lead("a")
		a.connect(t)
		open := &http.Client{Transport: a.client.Transport}
		for target, most := range map[string]int{wire.PathWatch: a.api.MaxWatches(), wire.PathExport: httpapi.MaxExports} {
			var streams []*http.Response
			for range most {
				resp, err := open.Get(a.url + target)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("stream %d of %s: %v, %v", len(streams), target, resp, err)
				}
				streams = append(streams, resp)
			}
			a.get(t, target).refused(http.StatusServiceUnavailable, wire.KindBusy).has("Retry-After", "1")
			a.get(t, wire.PathNode).want(http.StatusOK)
			streams[0].Body.Close()
			synctest.Wait()
			again, err := open.Get(a.url + target)
			if err != nil || again.StatusCode != http.StatusOK {
				t.Errorf("when one of %s has ended: %v, %v", target, again, err)
			}
			for _, resp := range append(streams, again) {
				resp.Body.Close()
			}
		}
	})
}

// fewFiles makes a listener as if the process could open only that many files.
func fewFiles(t *testing.T, l net.Listener, files uint64) net.Listener {
	t.Helper()
	var real syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &real); err != nil {
		t.Fatal(err)
	}
	low := real
	low.Cur = files
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &real); err != nil {
			t.Fatal(err)
		}
	}()
	return httpapi.LimitListener(l)
}

// Failed TLS handshakes do not fill the log, and trouble of the server itself is logged.
func TestLimits_OfTheLog(t *testing.T) {
	logged, logs := observer.New(zap.InfoLevel)
	api := httpapi.New(httpapi.Config{Logger: zap.New(logged)})
	defer api.Close()
	complain := api.HTTPServer().ErrorLog
	complain.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	complain.Print("http: Accept error: too many open files; retrying in 5ms")
	if all := logs.All(); len(all) != 1 || all[0].Level != zap.WarnLevel || !strings.Contains(fmt.Sprint(all[0].ContextMap()), "too many open files") {
		t.Errorf("logged: %v", all)
	}
}
