// This file tests writes that are forwarded to the master.

package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// followers starts one node of each mode that does not lead, beside master a.
func (p *plane) followers() map[string]*peer {
	p.t.Helper()
	nodes := map[string]*peer{
		"hot standby":  p.join("b", modes.HotStandby, modes.StateHotStandby),
		"hot backup":   p.join("c", modes.HotBackup, modes.StateHotBackup),
		"cold standby": p.join("d", modes.Standby, modes.StateStandby),
	}
	for _, n := range nodes {
		n.sees(p.t, "a")
	}
	return nodes
}

func TestForward_AnswersAsTheMasterDoes(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	for name, n := range p.followers() {
		t.Run(name, func(t *testing.T) {
			// What was written is read at once, without min_revision. Many times, because a
			// copy that lags behind is rare.
			hot := n.Status().State.Hot()
			reads := func(memento, payload string, written *answer) {
				t.Helper()
				reader := a
				if hot {
					reader = n
				}
				got := reader.get(t, at(memento)).want(http.StatusOK).holds(payload)
				if etag := written.header.Get("ETag"); etag != "" {
					got.has("ETag", etag)
				}
			}
			for i := range 20 {
				memento, payload := fmt.Sprintf("%s/%d", n.id, i), byteRange()+strconv.Itoa(i)
				created := n.put(t, memento, payload, wire.HeaderParent, "entity/root").has(wire.HeaderNode, "a")
				created.stored(http.StatusCreated)
				reads(memento, payload, created)
				replaced := n.put(t, memento, "")
				replaced.stored(http.StatusOK)
				reads(memento, "", replaced)
				other := memento + "-batch"
				reads(other, "1", n.batch(t, fmt.Sprintf(`{"op":"put","type":%q,"id":"%d-batch","data":1}`, n.id, i)).want(http.StatusOK).has(wire.HeaderNode, "a"))
				n.del(t, memento).want(http.StatusNoContent).holds("").has(wire.HeaderNode, "a")
				if hot {
					n.get(t, at(memento)).want(http.StatusNotFound)
				}
			}
			if !hot {
				n.get(t, wire.PathMementos).want(http.StatusServiceUnavailable)
			}
		})
	}
}

func TestForward_RefusesAsTheMasterDoes(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	etag := a.put(t, "entity/x", "1").want(http.StatusCreated).header.Get("ETag")
	for name, n := range p.followers() {
		t.Run(name, func(t *testing.T) {
			n.put(t, "entity/x", "2", "If-None-Match", "*").refused(http.StatusPreconditionFailed, wire.KindPrecondition)
			n.del(t, "entity/x", "If-Match", `"1"`).refused(http.StatusPreconditionFailed, wire.KindPrecondition)
			n.del(t, "entity/none").refused(http.StatusNotFound, wire.KindNotFound)
			n.put(t, "entity/..", "2").refused(http.StatusBadRequest, wire.KindBadRequest)
			n.put(t, "entity/x", "{", "Content-Type", "application/json").refused(http.StatusBadRequest, wire.KindBadRequest)
			n.put(t, "entity/x", strings.Repeat("x", maxPayload+1)).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
			n.batch(t, `{"op":"merge","type":"entity","id":"x"}`).refused(http.StatusBadRequest, wire.KindBadRequest)
			n.do(t, http.MethodPost, wire.PathBatch, []byte(`{}`), "Content-Type", "text/plain").
				refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
			p.store.Fill(true)
			n.put(t, "entity/x", "2").refused(http.StatusInsufficientStorage, wire.KindStoreFull)
			p.store.Fill(false)
		})
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1").has("ETag", etag)
}

func TestForward_NeverNamesTheMaster(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	never := []string{wire.HeaderForward, wire.ForwardNever}
	for name, n := range p.followers() {
		t.Run(name, func(t *testing.T) {
			for _, refused := range []*answer{
				n.put(t, "entity/x", "1", never...),
				n.del(t, "entity/x", never...),
				n.send(t, http.MethodPost, wire.PathBatch, `{"ops":[{"op":"put","type":"entity","id":"x","data":1}]}`, never...),
				n.handover(t, "b", never...),
			} {
				refused.refused(http.StatusMisdirectedRequest, wire.KindNotMaster).has("Location", a.url)
			}
		})
	}
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written although refused: %v", left)
	}
	a.put(t, "entity/x", "1", never...).want(http.StatusCreated)
}

func TestForward_WaitsForAMasterAndGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.join("a", modes.HotBackup, modes.StateHotBackup)
		for name, write := range map[string]func(header ...string) *answer{
			"put":    func(header ...string) *answer { return a.put(t, "entity/x", "1", header...) },
			"delete": func(header ...string) *answer { return a.del(t, "entity/x", header...) },
			"batch": func(header ...string) *answer {
				return a.send(t, http.MethodPost, wire.PathBatch, `{"ops":[{"op":"put","type":"entity","id":"x","data":1}]}`, header...)
			},
		} {
			began := time.Now()
			write().refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1")
			if took := time.Since(began); took != httpapi.MasterTimeout {
				t.Errorf("%s: answered after %s, want %s", name, took, httpapi.MasterTimeout)
			}
			began = time.Now()
			write(wire.HeaderForward, wire.ForwardNever).refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1").has("Location", "")
			if took := time.Since(began); took != 0 {
				t.Errorf("%s, never forwarded: answered after %s", name, took)
			}
		}
	})
}

func TestForward_WaitsForAMasterThatComes(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.join("a", modes.HotBackup, modes.StateHotBackup)
		var got *answer
		var err error
		var writing sync.WaitGroup
		writing.Go(func() { got, err = a.try(t, http.MethodPut, at("entity/x"), []byte("1")) })
		<-time.After(httpapi.MasterTimeout / 2)
		synctest.Wait()
		a.send(t, http.MethodPut, wire.PathMode, `{"mode":"auto"}`).want(http.StatusOK)
		writing.Wait()
		if err != nil {
			t.Fatal(err)
		}
		got.stored(http.StatusCreated)
	})
}

// leadAt starts a master that advertises front instead of its own listener.
func (p *plane) leadAt(front http.HandlerFunc) *peer {
	p.t.Helper()
	server := httptest.NewServer(front)
	p.t.Cleanup(server.Close)
	return p.lead("a", func(cfg *coordinator.Config) { cfg.URI = server.URL })
}

func TestForward_SendsTheRequestOnceAsItCame(t *testing.T) {
	p := newPlane(t)
	type request struct {
		line   string
		header http.Header
		body   string
	}
	arrived := make(chan request, 10)
	var a *peer
	a = p.leadAt(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		arrived <- request{r.Method + " " + r.RequestURI, r.Header.Clone(), string(body)}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		a.api.ServeHTTP(w, r)
	})
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	header := map[string]string{
		"Authorization": "Bearer secret", "If-None-Match": "*", "Content-Type": "text/plain",
		wire.HeaderParent: "entity/root", wire.HeaderSchema: "3",
	}
	var given []string
	for key, value := range header {
		given = append(given, key, value)
	}
	b.put(t, "entity/x", byteRange(), given...).stored(http.StatusCreated)
	got := <-arrived
	if got.line != "PUT /v1/mementos/entity/x" || got.body != byteRange() {
		t.Errorf("master got %s with %d bytes", got.line, len(got.body))
	}
	header[wire.HeaderForward] = wire.ForwardNever
	for key, want := range header {
		if got := got.header.Get(key); got != want {
			t.Errorf("master got %s = %q, want %q", key, got, want)
		}
	}
	if len(arrived) != 0 {
		t.Errorf("master got it %d times", 1+len(arrived))
	}
}

// hangUp reads a request and closes the connection without an answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func TestForward_LostAnswerIsUnknown(t *testing.T) {
	p := newPlane(t)
	p.leadAt(hangUp)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1").refused(http.StatusGatewayTimeout, wire.KindUnknown)
	b.del(t, "entity/x").refused(http.StatusGatewayTimeout, wire.KindUnknown)
	b.batch(t, `{"op":"delete","type":"entity","id":"x"}`).refused(http.StatusGatewayTimeout, wire.KindUnknown)
	b.handover(t, "b").refused(http.StatusGatewayTimeout, wire.KindUnknown)
}

// An answer that does not come from this API, such as a proxy's page or a redirect, leaves the
// outcome of a write unknown. A redirect is not passed on either.
func TestForward_AnswerOfSomebodyElseIsUnknown(t *testing.T) {
	p := newPlane(t)
	var status int
	p.leadAt(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>nginx</html>")
	})
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	for _, status = range []int{200, 301, 302, 303, 307, 308, 400, 404, 407, 502, 503} {
		b.put(t, "entity/x", "1").refused(http.StatusGatewayTimeout, wire.KindUnknown).has("Location", "").has(wire.HeaderNode, "b")
	}
}

// truncate sends less of an answer than it announces.
func truncate(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"revision\":")
		_ = conn.Close()
	}
}

func TestForward_HalfAnAnswerIsNone(t *testing.T) {
	p := newPlane(t)
	p.leadAt(truncate)
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	if got, err := b.try(t, http.MethodPut, at("entity/x"), []byte("1")); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("answer = %+v, error %v, want a connection that ends", got, err)
	}
}

func TestForward_MasterOutOfReachWasNotAsked(t *testing.T) {
	t.Parallel() // it waits in real time
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t)
	p.lead("a", func(cfg *coordinator.Config) { cfg.URI = nobody })
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	began := time.Now()
	b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1")
	if took := time.Since(began); took < httpapi.MasterTimeout {
		t.Errorf("gave up after %s, want %s: a master may come back", took, httpapi.MasterTimeout)
	}
}

func TestForward_MasterWithoutAnAddress(t *testing.T) {
	p := newPlane(t)
	p.lead("a", func(cfg *coordinator.Config) { cfg.URI = "" })
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1")
}

// A node that is taken for the master and is not, or not yet, has not carried out the write:
// the write is sent again until the plane has a master.
func TestForward_TriesAgainWhereTheMasterDoesNotLead(t *testing.T) {
	p := newPlane(t)
	asked := 0
	var a *peer
	a = p.leadAt(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked > 3 {
			a.api.ServeHTTP(w, r)
			return
		}
		p := wire.ProblemOf(coordinator.ErrNotMaster)
		w.Header().Set("Content-Type", wire.ProblemType)
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
	})
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1").stored(http.StatusCreated)
	if asked != 4 {
		t.Errorf("asked %d times, want 4", asked)
	}
}

// Other refusals of the master are passed on, after one attempt.
func TestForward_PassesOtherRefusalsOn(t *testing.T) {
	p := newPlane(t)
	asked := 0
	p.leadAt(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		p := wire.ProblemOf(fmt.Errorf("%w: refused by the store", driver.ErrFenced))
		w.Header().Set("Content-Type", wire.ProblemType)
		w.Header().Set("Retry-After", wire.RetryAfter)
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
	})
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindFenced).has("Retry-After", "1")
	if asked != 1 {
		t.Errorf("a fenced write was sent %d times", asked)
	}
}

// Writes wait while the plane is handed over, whichever node they are sent to.
func TestForward_HandoversRefuseNoWrite(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	d := p.join("d", modes.Standby, modes.StateStandby)
	for _, n := range []*peer{b, c, d} {
		n.sees(t, "a")
	}
	through := []*peer{c, d, c, d, a, b}
	ended := make(chan struct{})
	var writing sync.WaitGroup
	var written atomic.Int64
	for w := range through {
		writing.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-ended:
					return
				default:
				}
				// Every second put conflicts with another writer.
				got, err := through[w].try(t, http.MethodPut, at(fmt.Sprintf("entity/w%d", (w+k%2)%len(through))), []byte("x"))
				if err != nil {
					t.Errorf("write %d through %s: %v", k, through[w].id, err)
					return
				}
				if got.status/100 != 2 {
					t.Errorf("write %d through %s: %d %s", k, through[w].id, got.status, got.body)
					return
				}
				written.Add(1)
			}
		})
	}
	for i := range 20 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		from.handover(t, to.id).want(http.StatusOK)
		from.await(t, modes.StateHotStandby)
		goal := written.Load() + 20
		eventually(t, func() error {
			if now := written.Load(); now < goal && !t.Failed() {
				return fmt.Errorf("%d writes, want %d", now, goal)
			}
			return nil
		})
	}
	close(ended)
	writing.Wait()
}

// Two nodes that each take the other for the master must not forward a write in circles: the
// second one refuses it, and the first one reports that.
func TestForward_GoesOneStepOnly(t *testing.T) {
	t.Parallel() // it waits in real time
	p := newPlane(t)
	asked := make(chan string, 1000)
	a := p.leadAt(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get(wire.HeaderForward)
		w.Header().Set("Location", "http://127.0.0.1:1")
		w.WriteHeader(http.StatusMisdirectedRequest)
	})
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	b.sees(t, "a")
	b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster).has("Retry-After", "1").has("Location", "")
	if len(asked) == 0 {
		t.Fatal("the master was not asked")
	}
	for range len(asked) {
		if header := <-asked; header != wire.ForwardNever {
			t.Fatalf("forwarded with %s: %q", wire.HeaderForward, header)
		}
	}
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written although refused: %v", left)
	}
}
