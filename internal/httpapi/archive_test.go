// This file tests exports and imports.

package httpapi_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// exampleState has one memento of each kind.
var exampleState = map[rebind.Name]rebind.Content{
	"blob/all":     {Payload: allBytes(), ContentType: "image/png"},
	"blob/empty":   {Payload: []byte{}},
	"entity/child": {Payload: []byte(`{ "a" : 1.50 }`), ContentType: "application/json", Parent: "entity/web", Schema: 7},
	"entity/lines": {Payload: []byte("one\nend {}\n"), ContentType: "text/plain; charset=utf-8"},
	"entity/web":   {Payload: []byte("<web/>"), ContentType: "application/xml", Parent: "entity/nobody"},
}

func allBytes() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

// planeWith starts a plane with that state and returns its master.
func planeWith(t *testing.T, state map[rebind.Name]rebind.Content) (*plane, *peer) {
	t.Helper()
	p := newPlane(t)
	for name, c := range state {
		p.store.Put(name, c, "")
	}
	return p, p.lead("a")
}

func (n *peer) export(t testing.TB) []byte {
	t.Helper()
	return n.get(t, wire.PathExport).want(http.StatusOK).has("Content-Type", wire.Archive).body
}

func (n *peer) importArchive(t testing.TB, query string, text []byte, header ...string) *answer {
	t.Helper()
	return n.do(t, http.MethodPost, wire.PathImport+query, text, append([]string{"Content-Type", wire.Archive}, header...)...)
}

// imported returns the answer of an import without its revision.
func (a *answer) imported() wire.Imported {
	a.t.Helper()
	var done wire.Imported
	a.want(http.StatusOK).decode(&done)
	if done.Revision != a.revision() {
		a.t.Errorf("%s: revision %d in the body, %d in the header", a.what, done.Revision, a.revision())
	}
	done.Revision = 0
	return done
}

// unpack reads an archive.
func unpack(t testing.TB, text []byte) map[rebind.Name]rebind.Content {
	t.Helper()
	r, err := archive.NewReader(bytes.NewReader(text), maxPayload)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[rebind.Name]rebind.Content)
	for {
		name, c, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = *c
	}
}

// pack writes an archive.
func pack(t testing.TB, names []rebind.Name, state map[rebind.Name]rebind.Content) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Header{Plane: "p", Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		c := state[name]
		if err := w.Add(name, &c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Promise: an export that is imported into another plane gives the same mementos byte for byte,
// with parents, schemas and media types, through any node. Importing it again changes nothing.
func TestImport_OfAnExportIsTheSame(t *testing.T) {
	p, _ := planeWith(t, exampleState)
	from := p.join("b", modes.HotBackup, modes.StateHotBackup)
	text := from.export(t)
	if diff := cmp.Diff(exampleState, unpack(t, text)); diff != "" {
		t.Fatalf("exported (-want +got):\n%s", diff)
	}
	q, a := planeWith(t, nil)
	to := q.join("b", modes.HotBackup, modes.StateHotBackup)
	if diff := cmp.Diff(wire.Imported{Created: int64(len(exampleState))}, to.importArchive(t, "", text).imported()); diff != "" {
		t.Errorf("first import (-want +got):\n%s", diff)
	}
	for _, n := range []*peer{a, to} {
		if diff := cmp.Diff(exampleState, unpack(t, n.export(t))); diff != "" {
			t.Errorf("imported, as %s has it (-want +got):\n%s", n.id, diff)
		}
	}
	before := q.store.Revision()
	if diff := cmp.Diff(wire.Imported{Unchanged: int64(len(exampleState))}, to.importArchive(t, "?replace=true", text).imported()); diff != "" {
		t.Errorf("second import (-want +got):\n%s", diff)
	}
	if after := q.store.Revision(); after != before {
		t.Errorf("an import of what is there moves the revision from %d to %d", before, after)
	}
	c := q.join("c", modes.Standby, modes.StateStandby)
	c.get(t, wire.PathExport).refused(http.StatusServiceUnavailable, wire.KindNotReady)
	c.importArchive(t, "", text).imported()
	to.do(t, http.MethodHead, wire.PathExport, nil).want(http.StatusOK).has("Content-Type", wire.Archive)
	to.importArchive(t, "", text, wire.HeaderForward, wire.ForwardNever).refused(http.StatusMisdirectedRequest, wire.KindNotMaster).has("Location", a.url)
	to.importArchive(t, "?dry_run=maybe", text).refused(http.StatusBadRequest, wire.KindBadRequest)
}

// Promise: a dry run lists the differences and writes nothing. An import writes exactly those,
// and deletes only with replace.
func TestImport_WritesWhatDiffers(t *testing.T) {
	p, a := planeWith(t, exampleState)
	text := a.export(t)
	a.del(t, "blob/all").want(http.StatusNoContent)
	a.put(t, "entity/web", "changed").want(http.StatusOK)
	a.put(t, "entity/lines", "one\nend {}\n", "Content-Type", "text/plain").want(http.StatusOK) // only its media type differs
	a.put(t, "aa/first", "1").want(http.StatusCreated)
	a.put(t, "zz/last", "1").want(http.StatusCreated)
	before := p.store.Revision()

	names := &wire.ImportNames{Created: []string{"blob/all"}, Changed: []string{"entity/lines", "entity/web"}, Deleted: []string{}}
	want := wire.Imported{Created: 1, Changed: 2, Unchanged: 2, DryRun: true, Names: names}
	if diff := cmp.Diff(want, a.importArchive(t, "?dry_run=true", text).imported()); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	want.Deleted, names.Deleted = 2, []string{"aa/first", "zz/last"}
	if diff := cmp.Diff(want, a.importArchive(t, "?dry_run=true&replace=true", text).imported()); diff != "" {
		t.Errorf("dry run with replace (-want +got):\n%s", diff)
	}
	if after := p.store.Revision(); after != before {
		t.Fatalf("dry runs move the revision from %d to %d", before, after)
	}
	if diff := cmp.Diff(wire.Imported{Created: 1, Changed: 2, Unchanged: 2}, a.importArchive(t, "?replace=false", text).imported()); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	if got := len(a.inventory(t)); got != len(exampleState)+2 {
		t.Errorf("%d mementos after an import without replace, want all %d", got, len(exampleState)+2)
	}
	if diff := cmp.Diff(wire.Imported{Unchanged: 5, Deleted: 2}, a.importArchive(t, "?replace=true", text).imported()); diff != "" {
		t.Errorf("import with replace (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(exampleState, unpack(t, a.export(t))); diff != "" {
		t.Errorf("state in the end (-want +got):\n%s", diff)
	}
}

// More than one delta, and payloads too large to share one.
func TestImport_OfManyAndOfLarge(t *testing.T) {
	state := make(map[rebind.Name]rebind.Content)
	var names []rebind.Name
	for i := range 1000 {
		name := rebind.Name(fmt.Sprintf("entity/e%04d", i))
		size := 10
		if i%50 == 0 {
			size = maxPayload
		}
		names, state[name] = append(names, name), rebind.Content{Payload: bytes.Repeat([]byte{byte(i)}, size)}
	}
	_, a := planeWith(t, nil)
	if diff := cmp.Diff(wire.Imported{Created: 1000}, a.importArchive(t, "", pack(t, names, state)).imported()); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(state, unpack(t, a.export(t))); diff != "" {
		t.Errorf("state (-want +got):\n%.2000s", diff)
	}
	var dry wire.Imported
	a.importArchive(t, "?dry_run=true&replace=true", pack(t, nil, nil)).want(http.StatusOK).decode(&dry)
	if dry.Deleted != 1000 || len(dry.Names.Deleted) != 100 {
		t.Errorf("a dry run would delete %d and names %d, want 1000 and the first 100", dry.Deleted, len(dry.Names.Deleted))
	}
}

// Promise: a broken or incomplete archive changes nothing, wherever it is broken.
func TestImport_OfWhatIsBrokenChangesNothing(t *testing.T) {
	p, a := planeWith(t, map[rebind.Name]rebind.Content{"entity/web": {Payload: []byte("here")}})
	text := pack(t, []rebind.Name{"blob/empty", "entity/child", "entity/web"}, exampleState)
	before := p.store.Revision()
	refused := func(what string, text []byte) {
		t.Helper()
		if got := a.importArchive(t, "?replace=true", text); got.status != http.StatusBadRequest {
			t.Errorf("%s: answer %d %s, want 400", what, got.status, got.body)
		}
	}
	for i := range text {
		refused(fmt.Sprintf("cut at %d", i), text[:i])
		broken := bytes.Clone(text)
		broken[i] ^= 1
		refused(fmt.Sprintf("changed at %d", i), broken)
	}
	refused("something follows", append(bytes.Clone(text), '\n'))
	refused("a payload over the limit", pack(t, []rebind.Name{"a/b"}, map[rebind.Name]rebind.Content{"a/b": {Payload: make([]byte, maxPayload+1)}}))
	refused("a parent that is no name", pack(t, []rebind.Name{"a/b"}, map[rebind.Name]rebind.Content{"a/b": {Parent: "x"}}))
	refused("a content type that is none", pack(t, []rebind.Name{"a/b"}, map[rebind.Name]rebind.Content{"a/b": {ContentType: "x"}}))
	refused("names out of order", pack(t, []rebind.Name{"a/c", "a/b"}, exampleState))
	refused("something else", bytes.Repeat([]byte("x"), 1<<20))
	if after := p.store.Revision(); after != before {
		t.Errorf("revision moved from %d to %d", before, after)
	}
	a.get(t, at("entity/web")).holds("here")
}

// An import with replace does not delete quarantined mementos, which exports leave out. It
// repairs those that are in the archive.
func TestImport_Quarantined(t *testing.T) {
	p, a := planeWith(t, exampleState)
	text := a.export(t)
	p.store.Put("entity/odd", rebind.Content{}, "not a memento")
	p.store.Put("entity/web", rebind.Content{}, "not a memento")
	eventually(t, func() error {
		if got := a.Status().Quarantined; got != 2 {
			return fmt.Errorf("%d quarantined, want 2", got)
		}
		return nil
	})
	short := a.get(t, wire.PathExport).want(http.StatusOK).has(wire.HeaderQuarantined, "2").body
	if got := len(unpack(t, short)); got != len(exampleState)-1 {
		t.Errorf("export has %d mementos, want %d", got, len(exampleState)-1)
	}
	if diff := cmp.Diff(wire.Imported{Changed: 1, Unchanged: 4}, a.importArchive(t, "?replace=true", text).imported()); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	a.get(t, at("entity/odd")).refused(http.StatusUnprocessableEntity, wire.KindQuarantined)
	a.get(t, at("entity/web")).holds("<web/>")
}

// An import that the store interrupts says how far it came. Repeating it does the rest.
func TestImport_ThatIsInterrupted(t *testing.T) {
	p, a := planeWith(t, nil)
	state, names := make(map[rebind.Name]rebind.Content), []rebind.Name(nil)
	for i := range 3000 {
		name := rebind.Name(fmt.Sprintf("entity/e%04d", i))
		names, state[name] = append(names, name), rebind.Content{Payload: []byte("1")}
	}
	text := pack(t, names, state)
	p.store.Fill(true)
	a.importArchive(t, "", text).refused(http.StatusInsufficientStorage, wire.KindStoreFull)
	p.store.Fill(false)
	p.store.LoseAnswer("a", func() {
		p.store.Fill(true)
		a.importArchive(t, "", text).refused(http.StatusConflict, wire.KindRefused) // one import at a time
		a.importArchive(t, "?dry_run=true", text).want(http.StatusOK)
	})
	got := a.importArchive(t, "", text).refused(http.StatusInsufficientStorage, wire.KindStoreFull)
	if !strings.Contains(string(got.body), "import the same archive again to complete it") {
		t.Errorf("answer does not say that some of it is done: %s", got.body)
	}
	p.store.Fill(false)
	done := a.importArchive(t, "", text).imported()
	if done.Created == 0 || done.Unchanged == 0 || done.Created+done.Unchanged != 3000 {
		t.Errorf("the second import: %+v, want some created and some unchanged, 3000 in all", done)
	}
	if diff := cmp.Diff(state, unpack(t, a.export(t))); diff != "" {
		t.Errorf("state (-want +got):\n%.2000s", diff)
	}
}

// Promise: a stream may take any time as long as it makes progress.
func TestImport_GivesEachPartItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		want  int
	}{
		"a steady client": {httpapi.BodyTimeout - time.Second, http.StatusOK},
		"a stalled one":   {httpapi.BodyTimeout + time.Second, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				a := p.lead("a")
				a.connect(t)
				text := pack(t, []rebind.Name{"blob/all", "entity/web"}, exampleState)
				out, in := io.Pipe()
				var sending sync.WaitGroup
				defer sending.Wait()
				sending.Go(func() {
					for part := range slices.Chunk(text, len(text)/10+1) {
						<-time.After(c.pause)
						if _, err := in.Write(part); err != nil {
							return
						}
					}
					_ = in.Close()
				})
				defer out.Close()
				resp, err := (&http.Client{Transport: a.client.Transport}).Post(a.url+wire.PathImport, wire.Archive, out)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("answer %d, want %d", resp.StatusCode, c.want)
				}
			})
		})
	}
}

// Promise: a client that waits long for its import is told that it is in progress.
func TestImport_TellsThatItIsAtWork(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.connect(t)
		p.store.LoseAnswer("a", func() { <-time.After(25 * time.Second) })
		heard := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			if code == http.StatusProcessing {
				heard++
			}
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+wire.PathImport, bytes.NewReader(pack(t, []rebind.Name{"blob/all"}, exampleState)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: a.client.Transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || heard != 2 {
			t.Errorf("answer %d after %d words that it is at work, want 200 after 2", resp.StatusCode, heard)
		}
	})
}

// An export is given up, with its connection, if the client does not read it.
func TestExport_NotTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Put("blob/large", rebind.Content{Payload: make([]byte, maxPayload)}, "")
		a := p.lead("a")
		a.connect(t)
		resp, err := (&http.Client{Transport: a.client.Transport}).Get(a.url + wire.PathExport)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		<-time.After(httpapi.BodyTimeout + time.Second)
		if text, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the answer comes to its end after %d bytes", len(text))
		}
	})
}

func TestImport_WithoutAMaster(t *testing.T) {
	p := newPlane(t)
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	b.importArchive(t, "", pack(t, nil, nil)).refused(http.StatusServiceUnavailable, wire.KindNoMaster)
}

// Promise: if its disk cannot store the archive a node says so, and changes nothing.
func TestImport_ThatTheDiskDoesNotTake(t *testing.T) {
	p := newPlane(t)
	place := filepath.Join(t.TempDir(), "gone")
	p.secure = func(_ string, cfg *httpapi.Config) *tls.Config { cfg.SpoolDir = place; return nil }
	a := p.join("a", modes.Auto, modes.StateMaster)
	got := a.importArchive(t, "", pack(t, []rebind.Name{"entity/x"}, map[rebind.Name]rebind.Content{"entity/x": {}}))
	got.refused(http.StatusInsufficientStorage, wire.KindDisk)
	if !strings.Contains(string(got.body), place) {
		t.Errorf("the answer does not name the place: %s", got.body)
	}
	a.get(t, "/v1/mementos/entity/x").refused(http.StatusNotFound, wire.KindNotFound)
}

// Promise: neither exports nor imports need memory for the whole archive.
func TestArchive_TakesBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 mementos")
	}
	state := make(map[rebind.Name]rebind.Content, 100_000)
	for i := range 100_000 {
		state[rebind.Name(fmt.Sprintf("entity/e%06d", i))] = rebind.Content{Payload: bytes.Repeat([]byte{byte(i)}, 512)}
	}
	p, _ := planeWith(t, state)
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	clear(state)
	base := heapAfterGC()
	var most uint64
	enough := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			select {
			case <-time.After(20 * time.Millisecond):
				most = max(most, heapAfterGC())
			case <-enough:
				return
			}
		}
	})
	// From one node through the other to the master, all at the same time.
	exported, err := b.client.Get(b.url + wire.PathExport)
	if err != nil {
		t.Fatal(err)
	}
	defer exported.Body.Close()
	resp, err := b.client.Post(b.url+wire.PathImport, wire.Archive, exported.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	close(enough)
	sampling.Wait()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"unchanged":100000`) {
		t.Fatalf("import: %d %s %v", resp.StatusCode, text, err)
	}
	if grown := int64(most) - int64(base); grown > 56<<20 {
		t.Errorf("live heap grew by %d MiB, want at most 56: the archive has 60, and passes four times", grown>>20)
	} else {
		t.Logf("live heap %d MiB, grown by %d KiB at most", base>>20, grown>>10)
	}
}

// heapAfterGC returns how much memory is in use after a collection.
func heapAfterGC() uint64 {
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}
