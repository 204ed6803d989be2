// This file tests reads and writes of single mementos.

package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// byteRange is a payload with every byte, which survives only if it is not interpreted.
func byteRange() string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String()
}

// stored checks the answer to a put and returns its ETag.
func (a *answer) stored(status int) (etag string) {
	a.t.Helper()
	a.want(status).has("Content-Type", "application/json")
	rev := a.revision()
	a.has("ETag", strconv.Quote(strconv.FormatInt(rev, 10))).holds(fmt.Sprintf(`{"revision":%d}`+"\n", rev))
	return a.header.Get("ETag")
}

func TestMemento_LivesFromPutToDelete(t *testing.T) {
	a := newPlane(t).lead("a")
	term := strconv.FormatInt(a.Status().Term, 10)
	a.get(t, at("entity/x")).refused(http.StatusNotFound, wire.KindNotFound).has(wire.HeaderNode, "a")

	created := a.put(t, "entity/x", byteRange(), "Content-Type", "image/png; q=1", wire.HeaderParent, "entity/root", wire.HeaderSchema, "3")
	first := created.has(wire.HeaderNode, "a").stored(http.StatusCreated)
	read := a.get(t, at("entity/x")).want(http.StatusOK).holds(byteRange()).
		has("ETag", first).has("Content-Type", "image/png; q=1").has("Content-Length", "256").
		has(wire.HeaderParent, "entity/root").has(wire.HeaderSchema, "3").
		has(wire.HeaderNode, "a").has(wire.HeaderTerm, term).has(wire.HeaderStaleness, "0").
		has("Cache-Control", "no-store").has("X-Content-Type-Options", "nosniff")
	if read.revision() < created.revision() {
		t.Errorf("read at revision %d what was written at %d", read.revision(), created.revision())
	}

	replaced := a.put(t, "entity/x", "")
	second := replaced.stored(http.StatusOK)
	if replaced.revision() <= created.revision() {
		t.Errorf("second put at revision %d, first at %d", replaced.revision(), created.revision())
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("").has("ETag", second).
		has("Content-Type", "application/octet-stream").has(wire.HeaderParent, "").has(wire.HeaderSchema, "0")

	deleted := a.del(t, "entity/x").want(http.StatusNoContent).holds("").has(wire.HeaderNode, "a").has("ETag", "")
	if deleted.revision() <= replaced.revision() {
		t.Errorf("delete at revision %d, second put at %d", deleted.revision(), replaced.revision())
	}
	a.get(t, at("entity/x")).refused(http.StatusNotFound, wire.KindNotFound)
	a.del(t, "entity/x").refused(http.StatusNotFound, wire.KindNotFound)
	a.put(t, "entity/x", "again").stored(http.StatusCreated)
}

func TestMemento_Preconditions(t *testing.T) {
	a := newPlane(t).lead("a")
	const current, older = "current", "older" // placeholders for ETags of the memento
	match := func(etag string) []string { return []string{"If-Match", etag} }
	none := []string{"If-None-Match", "*"}
	for name, c := range map[string]struct {
		exists bool
		method string
		header []string
		status int
	}{
		"create what must not exist":             {false, "PUT", none, 201},
		"create what must not exist and does":    {true, "PUT", none, 412},
		"replace the revision that was read":     {true, "PUT", match(current), 200},
		"replace an older revision":              {true, "PUT", match(older), 412},
		"replace whatever exists":                {true, "PUT", match("*"), 200},
		"replace whatever exists, nothing there": {false, "PUT", match("*"), 412},
		"replace a revision, nothing there":      {false, "PUT", match(`"1"`), 412},
		"delete the revision that was read":      {true, "DELETE", match(current), 204},
		"delete an older revision":               {true, "DELETE", match(older), 412},
		"delete whatever exists":                 {true, "DELETE", match("*"), 204},
		"delete what must not exist and does":    {true, "DELETE", none, 412},
		"delete with nothing there":              {false, "DELETE", nil, 404},
		"delete a revision, nothing there":       {false, "DELETE", match(`"1"`), 404},
		"delete whatever exists, nothing there":  {false, "DELETE", match("*"), 404},
	} {
		t.Run(name, func(t *testing.T) {
			const memento = "entity/x"
			etags := map[string]string{}
			if c.exists {
				etags[older] = a.put(t, memento, "first").want(http.StatusCreated).header.Get("ETag")
				etags[current] = a.put(t, memento, "second").want(http.StatusOK).header.Get("ETag")
			}
			header := append([]string(nil), c.header...)
			for i, value := range header {
				if etag, ok := etags[value]; ok {
					header[i] = etag
				}
			}
			before := a.inventory(t)
			got := a.do(t, c.method, at(memento), []byte(map[string]string{"PUT": "third"}[c.method]), header...)
			switch got.want(c.status); c.status {
			case http.StatusOK, http.StatusCreated:
				a.get(t, at(memento)).want(http.StatusOK).holds("third")
			case http.StatusNoContent:
				a.get(t, at(memento)).want(http.StatusNotFound)
			default:
				if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
					t.Errorf("refused, and the state changed (-before +after):\n%s", diff)
				}
			}
			a.del(t, memento)
		})
	}
}

func TestMemento_BadPreconditions(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "stays").want(http.StatusCreated)
	before := a.inventory(t)
	for name, header := range map[string][]string{
		"an ETag without quotes":    {"If-Match", "5"},
		"no ETag where one was due": {"If-Match", ""},
		"an ETag each on two lines": {"If-Match", `"5"`, "If-Match", `"6"`},
		"a condition without one":   {"If-None-Match", ""},
		"an ETag with half a quote": {"If-Match", `"5`},
		"a weak ETag":               {"If-Match", `W/"5"`},
		"two ETags":                 {"If-Match", `"5", "6"`},
		"an empty ETag":             {"If-Match", `""`},
		"an ETag of words":          {"If-Match", `"latest"`},
		"revision zero":             {"If-Match", `"0"`},
		"a negative revision":       {"If-Match", `"-1"`},
		"a revision of no memento":  {"If-None-Match", `"5"`},
		"both at once":              {"If-Match", "*", "If-None-Match", "*"},
	} {
		t.Run(name, func(t *testing.T) {
			a.put(t, "entity/x", "new", header...).refused(http.StatusBadRequest, wire.KindBadRequest)
			a.put(t, "entity/y", "new", header...).refused(http.StatusBadRequest, wire.KindBadRequest)
			a.del(t, "entity/x", header...).refused(http.StatusBadRequest, wire.KindBadRequest)
		})
	}
	if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
		t.Errorf("state changed (-before +after):\n%s", diff)
	}
}

func TestMemento_BadNames(t *testing.T) {
	a := newPlane(t).lead("a")
	for name, escaped := range map[string]string{
		"the directory above":           "entity/..",
		"the directory itself":          "entity/.",
		"the directory above, escaped":  "entity/%2e%2e",
		"the directory above, half":     "entity/.%2E",
		"the directory itself, escaped": "entity/%2e",
		"a way out":                     "entity/../../node",
		"a way out of the type":         "../mementos/entity",
		"a zero byte":                   "entity/%00",
		"a zero byte at the end":        "entity/x%00",
		"a line feed":                   "entity/x%0a",
		"no id":                         "entity/",
		"no type":                       "/x",
		"an empty part":                 "entity//x",
		"a third part":                  "entity/a/b",
		"a slash at the end":            "entity/x/",
		"an encoded slash in the id":    "entity/a%2fb",
		"an encoded slash for a slash":  "a%2fb",
		"an encoded slash in the type":  "a%2fb/c",
		"an encoded backslash":          "entity/a%5cb",
		"an encoded percent sign":       "entity/%2565",
		"a space":                       "entity/a%20b",
		"a plus sign":                   "entity/a+b",
		"letters beyond ASCII":          "entity/%C3%A9",
		"a byte that is no letter":      "entity/%ff",
		"an id that is too long":        "entity/" + strings.Repeat("a", 201),
		"a type that is too long":       strings.Repeat("a", 64) + "/x",
		"a type in upper case":          "Entity/x",
		"a type that is a number":       "1/x",
		"a type with a dot":             "en.tity/x",
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				a.do(t, method, at(escaped), nil).refused(http.StatusBadRequest, wire.KindBadRequest).has("Location", "")
				a.do(t, method, "/%761/m%65mentos/"+escaped, nil).refused(http.StatusBadRequest, wire.KindBadRequest).has("Location", "")
			}
		})
	}
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written under a bad name: %v", left)
	}
}

func TestMemento_NamesAtTheLimits(t *testing.T) {
	a := newPlane(t).lead("a")
	for name, memento := range map[string]string{
		"the longest id":         "entity/" + strings.Repeat("Z", 200),
		"the longest type":       strings.Repeat("a", 63) + "/x",
		"the shortest name":      "a/0",
		"every sign":             "a_-9/._~-",
		"more dots than two":     "entity/...",
		"an id that is a method": "batch/batch",
	} {
		t.Run(name, func(t *testing.T) {
			a.put(t, memento, name).want(http.StatusCreated)
			a.get(t, at(memento)).want(http.StatusOK).holds(name)
			a.del(t, memento).want(http.StatusNoContent)
		})
	}
	a.put(t, "%65ntity/%78", "escaped").want(http.StatusCreated)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("escaped")
}

func TestMemento_BadContent(t *testing.T) {
	a := newPlane(t).lead("a")
	for name, c := range map[string]struct {
		payload string
		header  []string
	}{
		"JSON that is none":                {"{", []string{"Content-Type", "application/json"}},
		"JSON that is empty":               {"", []string{"Content-Type", "application/json"}},
		"JSON with a charset that is none": {"x", []string{"Content-Type", "application/json; charset=utf-8"}},
		"two JSON values":                  {"1 2", []string{"Content-Type", "application/json"}},
		"JSON that is not UTF-8":           {"\"\xff\"", []string{"Content-Type", "application/json"}},
		"a content type that is none":      {"1", []string{"Content-Type", "text plain"}},
		"a content type that is too long":  {"1", []string{"Content-Type", "text/" + strings.Repeat("x", 200)}},
		"a parent without an id":           {"1", []string{wire.HeaderParent, "entity"}},
		"a parent with a bad name":         {"1", []string{wire.HeaderParent, "entity/.."}},
		"a schema that is no number":       {"1", []string{wire.HeaderSchema, "two"}},
		"a schema that is negative":        {"1", []string{wire.HeaderSchema, "-1"}},
		"a schema that is too large":       {"1", []string{wire.HeaderSchema, "9223372036854775808"}},
	} {
		t.Run(name, func(t *testing.T) {
			a.put(t, "entity/x", c.payload, c.header...).refused(http.StatusBadRequest, wire.KindBadRequest)
		})
	}
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written although refused: %v", left)
	}
	const asSent = " {\"b\" : 1.00,\n\"a\":2} "
	a.put(t, "entity/x", asSent, "Content-Type", "application/json").want(http.StatusCreated)
	a.get(t, at("entity/x")).want(http.StatusOK).holds(asSent).has("Content-Type", "application/json")
}

func TestMemento_SizeLimit(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", strings.Repeat("x", maxPayload)).want(http.StatusCreated)
	before := a.inventory(t)
	a.put(t, "entity/x", strings.Repeat("x", maxPayload+1)).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	a.put(t, "entity/y", strings.Repeat("x", maxPayload+1)).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
		t.Errorf("state changed (-before +after):\n%s", diff)
	}
}

func TestMemento_IsNotReadWhereNoStateIs(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	b := p.join("b", modes.Standby, modes.StateStandby)
	for _, target := range []string{at("entity/x"), at("entity/none"), at("entity/x?min_revision=1"), wire.PathMementos} {
		b.get(t, target).refused(http.StatusServiceUnavailable, wire.KindNotReady).has("Retry-After", "1")
	}
	// An invalid name is refused wherever it is used.
	b.get(t, at("entity/..")).refused(http.StatusBadRequest, wire.KindBadRequest)
}

func TestMemento_IsNotReadOnTheWayUp(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Cut("a")
		a := p.start("a", modes.HotBackup)
		synctest.Wait()
		for _, target := range []string{at("entity/x"), wire.PathMementos} {
			a.get(t, target).refused(http.StatusServiceUnavailable, wire.KindNotReady)
		}
		p.store.Heal("a")
		a.await(t, modes.StateHotBackup)
		a.get(t, at("entity/x")).refused(http.StatusNotFound, wire.KindNotFound)
	})
}

func TestMemento_MinRevisionWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		next := a.put(t, "entity/x", "old").want(http.StatusCreated).revision() + 1
		type result struct {
			*answer
			err error
		}
		done := make(chan result, 2)
		var reading sync.WaitGroup
		for _, target := range []string{at("entity/x"), wire.PathMementos} {
			reading.Go(func() {
				got, err := a.try(t, http.MethodGet, fmt.Sprintf("%s?min_revision=%d", target, next), nil)
				done <- result{got, err}
			})
		}
		synctest.Wait()
		if len(done) > 0 {
			t.Fatalf("answered before revision %d was there", next)
		}
		a.put(t, "entity/x", "new").want(http.StatusOK)
		reading.Wait()
		for range 2 {
			got := <-done
			if got.err != nil {
				t.Fatal(got.err)
			}
			if got.want(http.StatusOK).revision() < next {
				t.Errorf("%s: answered at revision %d, want %d", got.what, got.revision(), next)
			}
		}
	})
}

func TestMemento_MinRevisionIsNotWaitedForLong(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		beyond := a.put(t, "entity/x", "1").want(http.StatusCreated).revision() + 1000
		for _, target := range []string{at("entity/x"), wire.PathMementos} {
			began := time.Now()
			a.get(t, fmt.Sprintf("%s?min_revision=%d", target, beyond)).
				refused(http.StatusServiceUnavailable, wire.KindNotReady).has("Retry-After", "1")
			if took := time.Since(began); took != httpapi.CurrentTimeout {
				t.Errorf("answered after %s, want %s", took, httpapi.CurrentTimeout)
			}
			for _, bad := range []string{"-1", "x", "1.5", "9223372036854775808"} {
				a.get(t, target+"?min_revision="+bad).refused(http.StatusBadRequest, wire.KindBadRequest)
			}
		}
	})
}

// corrupt makes a memento unreadable, and waits until n knows.
func (p *plane) corrupt(n *peer, name rebind.Name) {
	p.t.Helper()
	p.store.Put(name, rebind.Content{}, "header is cut off")
	eventually(p.t, func() error {
		reading, err := n.Read()
		if err != nil {
			return err
		}
		if _, err := reading.View.Get(name); !errors.Is(err, rebind.ErrQuarantined) {
			return fmt.Errorf("%s is not quarantined: %w", name, err)
		}
		return nil
	})
}

func TestMemento_Quarantined(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.put(t, "entity/good", "1").want(http.StatusCreated)
	for _, name := range []string{"entity/put", "entity/del"} {
		a.put(t, name, "readable").want(http.StatusCreated)
		p.corrupt(a, rebind.Name(name))
		a.get(t, at(name)).refused(http.StatusUnprocessableEntity, wire.KindQuarantined).has(wire.HeaderNode, "a")
	}
	if got := a.inventory(t); len(got) != 1 || got[0].ID != "good" {
		t.Errorf("list = %v, want the readable one alone", got)
	}
	var n wire.Node
	a.get(t, wire.PathNode).want(http.StatusOK).decode(&n)
	if n.Quarantined != 2 || len(n.Quarantine) != 2 || n.Quarantine[0].Name != "entity/del" || n.Quarantine[1].Name != "entity/put" {
		t.Errorf("quarantined = %d, quarantine = %v", n.Quarantined, n.Quarantine)
	}
	a.put(t, "entity/put", "new", "If-None-Match", "*").want(http.StatusPreconditionFailed)
	a.put(t, "entity/put", "repaired").stored(http.StatusOK)
	a.get(t, at("entity/put")).want(http.StatusOK).holds("repaired")
	a.del(t, "entity/del").want(http.StatusNoContent)
	a.get(t, at("entity/del")).want(http.StatusNotFound)
	n = wire.Node{}
	a.get(t, wire.PathNode).want(http.StatusOK).decode(&n)
	if n.Quarantined != 0 || n.Quarantine != nil {
		t.Errorf("repaired, and still quarantined = %d, quarantine = %v", n.Quarantined, n.Quarantine)
	}
}

func TestMemento_StoreFull(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	p.store.Fill(true)
	a.put(t, "entity/x", "2").refused(http.StatusInsufficientStorage, wire.KindStoreFull)
	a.put(t, "entity/y", "2").refused(http.StatusInsufficientStorage, wire.KindStoreFull)
	a.send(t, http.MethodPost, wire.PathBatch, `{"ops":[{"op":"put","type":"entity","id":"y","data":1},{"op":"delete","type":"entity","id":"x"}]}`).
		refused(http.StatusInsufficientStorage, wire.KindStoreFull)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
	a.get(t, at("entity/y")).want(http.StatusNotFound)
	a.del(t, "entity/x").want(http.StatusNoContent)
	a.get(t, at("entity/x")).want(http.StatusNotFound)
	p.store.Fill(false)
	a.put(t, "entity/x", "3").want(http.StatusCreated)
}
