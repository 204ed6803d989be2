// This file tests that many readers put no more load on the store than a few.

package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// countingStore is a store that counts its calls and answers with a delay.
type countingStore struct {
	driver.Store
	latency                       atomic.Int64 // nanoseconds; 0 counts nothing
	all, planes, checks, together atomic.Int64
	most                          atomic.Int64 // concurrent calls
}

func (a *countingStore) count(what *atomic.Int64) (done func()) {
	takes := time.Duration(a.latency.Load())
	if takes == 0 {
		return func() {}
	}
	a.all.Add(1)
	if what != nil {
		what.Add(1)
	}
	a.most.Store(max(a.most.Load(), a.together.Add(1)))
	<-time.After(takes)
	return func() { a.together.Add(-1) }
}

func (a *countingStore) Plane(ctx context.Context) (driver.Plane, error) {
	defer a.count(&a.planes)()
	return a.Store.Plane(ctx)
}

func (a *countingStore) Writable(ctx context.Context, r driver.Record) error {
	defer a.count(&a.checks)()
	return a.Store.Writable(ctx, r)
}

func (a *countingStore) History(ctx context.Context) ([]driver.HistoryEntry, error) {
	defer a.count(nil)()
	return a.Store.History(ctx)
}

func (a *countingStore) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) ([]rebind.Change, bool, error) {
	defer a.count(nil)()
	return a.Store.Past(ctx, at, start, limit)
}

func (a *countingStore) Head(ctx context.Context) (rebind.Revision, error) {
	defer a.count(nil)()
	return a.Store.Head(ctx)
}

// Promise: the load that readers can put on the store is limited, however many they are. They
// share an answer or take turns, and no answer is older than its request.
func TestSingleflight_ReadersAreNoLoadForTheStore(t *testing.T) {
	const readers = 200
	// The node itself also asks for the store's revision, once a second.
	for name, c := range map[string]struct {
		method, path, body string
		all, most          int64 // limits on the calls to the store in total, and at one time
	}{
		"the plane":         {http.MethodGet, wire.PathPlane, "", 5, 1},
		"the history":       {http.MethodGet, wire.PathHistory, "", 3, 1},
		"consistent reads":  {http.MethodGet, at("entity/x") + "?consistent=true", "", 5, 3},
		"fresh reads":       {http.MethodGet, wire.PathMementos + "?max_staleness=0s", "", 5, 3},
		"reads of the past": {http.MethodGet, at("entity/x") + "?revision=%d", "", readers + 5, 3},
		"lists of the past": {http.MethodGet, wire.PathMementos + "?revision=%d", "", readers + 5, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				store := new(countingStore)
				p.lead("a")
				p.wrap = func(s driver.Store) driver.Store { store.Store = s; return store }
				b := p.join("b", modes.HotBackup, modes.StateHotBackup)
				b.connect(t)
				p.store.Put("entity/x", rebind.Content{}, "")
				synctest.Wait()
				path := strings.ReplaceAll(c.path, "%d", fmt.Sprint(p.store.Revision()))
				store.latency.Store(int64(10 * time.Millisecond))
				var asking sync.WaitGroup
				for range readers {
					asking.Go(func() { b.get(t, path).want(http.StatusOK) })
				}
				asking.Wait()
				store.latency.Store(0)
				if all, most := store.all.Load(), store.most.Load(); all > c.all || most > c.most || all == 0 {
					t.Errorf("%d readers ask the store %d times, %d at a time, want at most %d and %d", readers, all, most, c.all, c.most)
				}
			})
		})
	}
}

// Promise: a reader never gets an answer from before its request.
func TestSingleflight_AnswersAreNotOlderThanTheQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		store := new(countingStore)
		p.wrap = func(s driver.Store) driver.Store { store.Store = s; return store }
		a := p.lead("a")
		store.latency.Store(int64(100 * time.Millisecond))
		var asking sync.WaitGroup
		for i := range 50 {
			asking.Go(func() {
				<-time.After(time.Duration(i*7) * time.Millisecond)
				known := int64(p.store.Revision())
				p.store.Put("entity/x", rebind.Content{}, "")
				var got wire.Plane
				a.get(t, wire.PathPlane).want(http.StatusOK).decode(&got)
				if got.Revision <= known {
					t.Errorf("the plane is shown at revision %d to who knew %d", got.Revision, known)
				}
			})
		}
		asking.Wait()
	})
}

// Promise: an archive that would fill the disk is refused, and at once if it declares its size.
func TestArchive_MayTakeHalfOfTheDisk(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	archive := pack(t, []rebind.Name{"entity/x", "entity/y"}, exampleState)
	for free, want := range map[int]int{2*len(archive) + 2: http.StatusOK, 2*len(archive) - 2: http.StatusInsufficientStorage, 0: http.StatusInsufficientStorage} {
		a.api.SetFreeSpace(int64(free))
		a.do(t, http.MethodPost, wire.PathImport, archive, "Content-Type", wire.Archive).want(want)
		req, err := http.NewRequest(http.MethodPost, a.url+wire.PathImport, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Body, req.ContentLength = sized{strings.NewReader(string(archive))}, -1
		resp, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("an archive of %d bytes that does not tell its size, %d free: %d, want %d", len(archive), free, resp.StatusCode, want)
		}
	}
}

type sized struct{ *strings.Reader }

func (sized) Close() error { return nil }
