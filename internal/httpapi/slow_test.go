// This file tests clients that do not read.

package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// sockets serves the API of a node in a bubble and returns a function that connects to it.
// Nothing is buffered in between, so a client that does not read is slow at once.
func (n *peer) sockets(t *testing.T) (dial func() net.Conn) {
	t.Helper()
	pipes := newNetwork()
	server := n.api.HTTPServer()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(pipes) })
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return func() net.Conn {
		conn, err := pipes.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// heapInUse returns how much of the heap is in use.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Promise: 64 clients that request everything and read nothing, or send only most of a body,
// take little memory, keep nobody out, and are cut off.
func TestSlow_ClientsTakeLittleAndKeepNobodyOut(t *testing.T) {
	const slow, most, large = 64, 64 << 20, 60 << 10
	for name, head := range map[string]string{
		"a page of payloads":    "GET /v1/mementos?values=true&limit=5000 HTTP/1.1\r\nHost: a\r\n\r\n",
		"a page without":        "GET /v1/mementos?limit=5000 HTTP/1.1\r\nHost: a\r\n\r\n",
		"a page of the past":    "GET /v1/mementos?values=true&limit=5000&revision=%d HTTP/1.1\r\nHost: a\r\n\r\n",
		"a memento":             "GET /v1/mementos/blob/b1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"an export":             "GET /v1/export HTTP/1.1\r\nHost: a\r\n\r\n",
		"a watch":               "GET /v1/watch HTTP/1.1\r\nHost: a\r\n\r\n",
		"a watch from the past": "GET /v1/watch?from_revision=1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"a plane":               "GET /v1/plane HTTP/1.1\r\nHost: a\r\n\r\n",
		"the description":       "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
		"the body of a batch":   fmt.Sprintf("POST /v1/mementos/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", httpapi.MaxBatchBody, strings.Repeat(" ", httpapi.MaxBatchBody-1)),
		"a body of no length":   "POST /v1/mementos/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3fff00\r\n" + strings.Repeat(" ", 0x3fff00) + "\r\n",
		"the body of an import": "POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				for i := range 200 {
					p.store.Put(rebind.Name(fmt.Sprintf("blob/b%d", i)), rebind.Content{Payload: make([]byte, large)}, "")
				}
				a := p.lead("a")
				a.connect(t)
				if strings.Contains(head, "%d") {
					head = fmt.Sprintf(head, p.store.Revision())
				}
				text := []byte(head)
				dial, before := a.sockets(t), heapInUse()
				conns := make([]net.Conn, slow)
				var sending sync.WaitGroup
				for i := range conns {
					conns[i] = dial()
					sending.Go(func() { _, _ = conns[i].Write(text) }) // until it is cut off
				}
				synctest.Wait()
				for range 3 {
					began := time.Now()
					a.get(t, wire.PathLive).want(http.StatusOK)
					a.get(t, "/role/master").want(http.StatusOK)
					if took := time.Since(began); took > 0 {
						t.Errorf("health waited for %s", took)
					}
					a.list(t, "values", "true", "limit", "100").want(http.StatusOK)
					a.put(t, "note/x", strings.Repeat("x", large))
					a.get(t, at("blob/b7")).want(http.StatusOK)
					if took := time.Since(began); took > httpapi.MemoryWait {
						t.Errorf("others waited for %s", took)
					}
				}
				if grown := heapInUse() - before; grown > most {
					t.Errorf("they take %d MiB", grown>>20)
				}
				<-time.After(httpapi.BodyTimeout + httpapi.PartTimeout + time.Minute)
				sending.Wait()
				for _, conn := range conns {
					if text, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.ErrClosedPipe) || text > 2<<20 {
						t.Errorf("%d bytes come after all, %v", text, err)
					}
				}
			})
		})
	}
}

// Promise: a watcher that does not read costs no more than one that does, however much changes
// at one revision.
func TestSlow_WatchOfMuchAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		dial := a.sockets(t)
		const watchers = 64
		conns := make([]net.Conn, watchers)
		for i := range conns {
			conns[i] = dial()
			if _, err := io.WriteString(conns[i], "GET /v1/watch HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			part := make([]byte, 4<<10)
			for said := ""; !strings.Contains(said, "bookmark"); {
				n, err := conns[i].Read(part)
				if err != nil {
					t.Fatal(err)
				}
				said += string(part[:n])
			}
		}
		synctest.Wait()
		ops := make([]rebind.Op, driver.MaxOps)
		for i := range ops {
			ops[i] = rebind.Op{Name: rebind.Name(fmt.Sprintf("blob/b%d", i)), Put: &rebind.Content{Payload: make([]byte, maxPayload)}}
		}
		before := heapInUse()
		if _, err := a.Commit(t.Context(), rebind.Delta{Ops: ops}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if grown := heapInUse() - before; grown > 64<<20 {
			t.Errorf("%d watchers of %d MiB take %d MiB", watchers, len(ops)*maxPayload>>20, grown>>20)
		}
		<-time.After(httpapi.PartTimeout + time.Second)
		for _, conn := range conns {
			if n, err := io.Copy(io.Discard, conn); err != nil || n > 64<<10 {
				t.Errorf("%d bytes come after all, %v", n, err)
			}
		}
	})
}

// Promise: a client that keeps reading gets a large answer complete, however many others do not
// read.
func TestSlow_HonestClientsGetAll(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		const count = 150
		for i := range count {
			p.store.Put(rebind.Name(fmt.Sprintf("blob/b%d", i)), rebind.Content{Payload: make([]byte, 30<<10)}, "")
		}
		a := p.join("a", modes.HotBackup, modes.StateHotBackup)
		a.connect(t)
		dial := a.sockets(t)
		for range 200 {
			var sending sync.WaitGroup
			conn := dial()
			sending.Go(func() {
				_, _ = io.WriteString(conn, "GET /v1/mementos?values=true&limit=5000 HTTP/1.1\r\nHost: a\r\n\r\n")
			})
			t.Cleanup(sending.Wait)
		}
		synctest.Wait()
		var honest sync.WaitGroup
		for range 8 {
			honest.Go(func() {
				resp, err := a.client.Get(a.url + wire.PathMementos + "?values=true&limit=5000")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				body := &answer{t: t, what: "list", status: resp.StatusCode}
				for part := make([]byte, 64<<10); err == nil; {
					var n int
					n, err = io.ReadFull(resp.Body, part)
					body.body = append(body.body, part[:n]...)
					<-time.After(100 * time.Millisecond) // a slow line
				}
				var got wire.List
				if body.decode(&got); len(got.Items) != count {
					t.Errorf("%d items, want %d", len(got.Items), count)
				}
			})
		}
		honest.Wait()
	})
}
