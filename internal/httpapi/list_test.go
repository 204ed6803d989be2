// This file tests listings.

package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// list requests one page. The query is given as keys and values in turn.
func (n *peer) list(t testing.TB, query ...string) *answer {
	t.Helper()
	v := url.Values{}
	for i := 0; i < len(query); i += 2 {
		if query[i] == "after" && query[i+1] == "" {
			continue // the first page
		}
		v.Set(query[i], query[i+1])
	}
	return n.get(t, wire.PathMementos+"?"+v.Encode())
}

// page returns a page, and checks that body and header agree.
func (a *answer) page() wire.List {
	a.t.Helper()
	var list wire.List
	a.want(http.StatusOK).decode(&list)
	if list.Revision != a.revision() {
		a.t.Errorf("%s: revision %d in the body, %d in the header", a.what, list.Revision, a.revision())
	}
	return list
}

// all reads all pages of a listing and returns its names and its one revision. It calls
// meanwhile between two pages.
func (n *peer) all(t testing.TB, meanwhile func(), query ...string) (found []string, revision int64) {
	t.Helper()
	next := ""
	for {
		list := n.list(t, append([]string{"after", next}, query...)...).page()
		if revision == 0 {
			revision = list.Revision
		}
		if list.Revision != revision {
			t.Fatalf("page at revision %d of a listing at %d", list.Revision, revision)
		}
		found = append(found, namesOf(list)...)
		if len(found) > 10*len(orderedNames) {
			t.Fatalf("listing does not end: %v", found)
		}
		if list.Next == "" {
			return found, revision
		}
		next = list.Next
		meanwhile()
	}
}

func namesOf(list wire.List) []string {
	var names []string
	for _, m := range list.Items {
		names = append(names, m.Type+"/"+m.ID)
	}
	return names
}

// orderedNames are mementos in the order of their keys, which differs from other natural
// orders: "-" and "." sort before "/", and "/" before digits and letters.
var orderedNames = []string{
	"a-b/1", "a/-", "a/.a", "a/A", "a/a", "a/a.b", "a/aa", "a/b", "a0/1", "a_/1", "b/1", "b/10", "b/2", "ba/1",
}

func (n *peer) stock(t testing.TB) {
	t.Helper()
	for _, name := range slices.Backward(orderedNames) {
		n.put(t, name, "1").want(http.StatusCreated)
	}
}

func TestTypes_NamesEachOnce(t *testing.T) {
	a := newPlane(t).lead("a")
	types := func() []string {
		var answer wire.Types
		got := a.get(t, wire.PathTypes).want(http.StatusOK)
		got.decode(&answer)
		if answer.Revision != got.revision() {
			t.Errorf("revision %d in the body, %d in the header", answer.Revision, got.revision())
		}
		return answer.Types
	}
	if got := types(); got == nil || len(got) != 0 {
		t.Errorf("types = %v of an empty plane, want an empty list", got)
	}
	a.stock(t)
	if diff := cmp.Diff([]string{"a", "a-b", "a0", "a_", "b", "ba"}, types()); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	a.get(t, wire.PathTypes+"?type=a").refused(http.StatusBadRequest, wire.KindBadRequest)
}

func TestList_FindsInOrder(t *testing.T) {
	a := newPlane(t).lead("a")
	a.stock(t)
	for name, c := range map[string]struct {
		query []string
		want  []string
	}{
		"everything":                      {nil, orderedNames},
		"one type":                        {[]string{"type", "a"}, []string{"a/-", "a/.a", "a/A", "a/a", "a/a.b", "a/aa", "a/b"}},
		"the first type":                  {[]string{"type", "a-b"}, []string{"a-b/1"}},
		"the last type":                   {[]string{"type", "ba"}, []string{"ba/1"}},
		"a type that has none":            {[]string{"type", "aa"}, nil},
		"a prefix within a type":          {[]string{"type", "a", "prefix", "a"}, []string{"a/a", "a/a.b", "a/aa"}},
		"a prefix across types":           {[]string{"prefix", "1"}, []string{"a-b/1", "a0/1", "a_/1", "b/1", "b/10", "ba/1"}},
		"a prefix that is a whole id":     {[]string{"type", "b", "prefix", "10"}, []string{"b/10"}},
		"a prefix that nothing has":       {[]string{"type", "b", "prefix", "3"}, nil},
		"a prefix that no id can have":    {[]string{"prefix", "/"}, nil},
		"everything, on one exact page":   {[]string{"limit", strconv.Itoa(len(orderedNames))}, orderedNames},
		"everything, on the largest page": {[]string{"limit", strconv.Itoa(httpapi.MaxPage)}, orderedNames},
	} {
		t.Run(name, func(t *testing.T) {
			list := a.list(t, c.query...).page()
			if diff := cmp.Diff(c.want, namesOf(list)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if list.Next != "" {
				t.Errorf("next = %q on the last page", list.Next)
			}
			for _, limit := range []string{"1", "2", "3", "4"} {
				paged, _ := a.all(t, func() {}, append(slices.Clone(c.query), "limit", limit)...)
				if diff := cmp.Diff(c.want, paged); diff != "" {
					t.Errorf("names on pages of %s (-want +got):\n%s", limit, diff)
				}
			}
		})
	}
}

func TestList_TellsEverythingButThePayload(t *testing.T) {
	a := newPlane(t).lead("a")
	created := a.put(t, "entity/x", "12345", "Content-Type", "text/plain", wire.HeaderParent, "entity/root", wire.HeaderSchema, "3").
		want(http.StatusCreated).revision()
	bare := a.put(t, "entity/y", "").want(http.StatusCreated).revision()
	modified := a.put(t, "entity/x", "123456", "Content-Type", "text/html", wire.HeaderParent, "entity/top", wire.HeaderSchema, "4").
		want(http.StatusOK).revision()
	want := []wire.Memento{
		{
			Type: "entity", ID: "x", Parent: "entity/top", ContentType: "text/html", Schema: 4,
			CreateRevision: created, ModRevision: modified, Version: 2, Size: 6,
		},
		{Type: "entity", ID: "y", CreateRevision: bare, ModRevision: bare, Version: 1},
	}
	answer := a.list(t).has(wire.HeaderNode, "a").has(wire.HeaderStaleness, "0").
		has(wire.HeaderTerm, strconv.FormatInt(a.Status().Term, 10))
	if diff := cmp.Diff(want, answer.page().Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func TestList_IsEmptyBeforeTheFirstMemento(t *testing.T) {
	a := newPlane(t).join("a", modes.HotBackup, modes.StateHotBackup)
	if items := a.list(t).page().Items; items == nil || len(items) != 0 {
		t.Errorf("items = %v, want an empty list", items)
	}
}

func TestList_PagesShowOneRevision(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.stock(t)
	began := a.list(t).page().Revision
	writes := 0
	found, revision := a.all(t, func() {
		// Before, at and after the cursor.
		a.put(t, fmt.Sprintf("a/%d", writes), "new").want(http.StatusCreated)
		a.put(t, "a/a", "changed").want(http.StatusOK)
		a.put(t, fmt.Sprintf("z/%d", writes), "new").want(http.StatusCreated)
		if writes == 0 {
			a.del(t, "b/2").want(http.StatusNoContent)
		}
		writes++
	}, "limit", "3")
	if diff := cmp.Diff(orderedNames, found); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if revision != began {
		t.Errorf("listing is at revision %d, it began at %d", revision, began)
	}
	if writes < 4 {
		t.Fatalf("%d writes between pages, the test is no longer what it was", writes)
	}
	if now := a.list(t).page(); now.Revision <= began || len(now.Items) != len(orderedNames)-1+2*writes {
		t.Errorf("a new listing has %d items at revision %d", len(now.Items), now.Revision)
	}
}

func TestList_DefaultPage(t *testing.T) {
	a := newPlane(t).lead("a")
	for i := range httpapi.DefaultPage/100 + 1 {
		var ops []string
		for j := range 100 {
			ops = append(ops, fmt.Sprintf(`{"op":"put","type":"entity","id":"%03d","data":1}`, i*100+j))
		}
		a.batch(t, ops...).want(http.StatusOK)
	}
	first := a.list(t).page()
	if len(first.Items) != httpapi.DefaultPage || first.Next == "" {
		t.Fatalf("first page has %d items and next %q, want %d", len(first.Items), first.Next, httpapi.DefaultPage)
	}
	if second := a.list(t, "after", first.Next).page(); len(second.Items) != 100 || second.Items[0].ID != "500" || second.Next != "" {
		t.Errorf("second page has %d items and next %q", len(second.Items), second.Next)
	}
}

func TestList_BadQueries(t *testing.T) {
	a := newPlane(t).lead("a")
	a.stock(t)
	token := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, query := range map[string][]string{
		"a limit of nothing":          {"limit", "0"},
		"a negative limit":            {"limit", "-1"},
		"a limit over the largest":    {"limit", strconv.Itoa(httpapi.MaxPage + 1)},
		"a limit that is no number":   {"limit", "all"},
		"an after that is none":       {"after", "a/b"},
		"an after without a name":     {"after", token("0/7")},
		"an after of revision 0":      {"after", token("0/0 a/b")},
		"an after of a bad name":      {"after", token("0/7 a/..")},
		"an after that is no number":  {"after", token("0/x a/b")},
		"a type that is no type":      {"type", "A"},
		"a type with a slash":         {"type", "a/b"},
		"an unknown parameter":        {"typ", "a"},
		"an unknown one among others": {"type", "a", "order", "desc"},
	} {
		t.Run(name, func(t *testing.T) {
			a.list(t, query...).refused(http.StatusBadRequest, wire.KindBadRequest)
		})
	}
}

func TestList_IsKeptForItsNextPage(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.stock(t)
		page := a.list(t, "limit", "5").page()
		a.put(t, "z/1", "new").want(http.StatusCreated)

		<-time.After(httpapi.ListingTTL - time.Second)
		second := a.list(t, "limit", "5", "after", page.Next).page()
		<-time.After(httpapi.ListingTTL - time.Second)
		third := a.list(t, "limit", "5", "after", second.Next).page() // using a page prolongs the listing
		if third.Revision != page.Revision || third.Next != "" {
			t.Errorf("third page at revision %d with next %q, first at %d", third.Revision, third.Next, page.Revision)
		}
		<-time.After(httpapi.ListingTTL - time.Second)
		a.list(t, "limit", "5", "after", second.Next).page() // the last page as well
		<-time.After(httpapi.ListingTTL + time.Second)
		a.list(t, "limit", "5", "after", second.Next).refused(http.StatusGone, wire.KindGone)
		a.list(t, "limit", "5").page()
	})
}

// A listing belongs to one incarnation of the store. After a restore its next page is gone,
// even when the store reaches that revision again.
func TestList_EndsWithItsStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.stock(t)
		backup := p.store.Backup()
		a.put(t, "z/1", "phantom").want(http.StatusCreated)
		page := a.list(t, "limit", "5").page()
		p.store.PutBack(backup, 0)
		<-time.After(time.Second)
		a.await(t, modes.StateMaster)
		for int64(p.store.Revision()) < page.Revision {
			p.write("z/2", "new")
		}
		a.list(t, "limit", "5", "after", page.Next).refused(http.StatusGone, wire.KindGone)
		if again := a.list(t, "limit", "5").page(); again.Next == page.Next {
			t.Errorf("the pages of two stores have the same next")
		}
	})
}

func TestList_TooManyDropTheOneUsedLongestAgo(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.stock(t)
		var begun []wire.List
		begin := func() {
			begun = append(begun, a.list(t, "limit", "13").page())
			a.put(t, "z/1", "new").want(http.StatusCreated) // so that the next listing has another revision
			a.del(t, "z/1").want(http.StatusNoContent)
			<-time.After(time.Millisecond)
		}
		for range httpapi.MaxListings {
			begin()
		}
		goOn := func(i int) *answer { return a.list(t, "after", begun[i].Next) }
		goOn(0).page()
		<-time.After(time.Millisecond)
		begin()
		goOn(0).page()
		goOn(1).refused(http.StatusGone, wire.KindGone)
		goOn(2).page()
	})
}

func TestList_IsKeptByOneNode(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.stock(t)
	b := p.join("b", modes.HotBackup, modes.StateHotBackup)
	page := a.list(t, "limit", "5").page()
	b.list(t, "limit", "5", "after", page.Next).refused(http.StatusGone, wire.KindGone)
	found, revision := b.all(t, func() {}, "limit", "5")
	if diff := cmp.Diff(orderedNames, found); diff != "" {
		t.Errorf("names on a hot node (-want +got):\n%s", diff)
	}
	if revision < page.Revision {
		t.Errorf("hot node lists revision %d, the master %d", revision, page.Revision)
	}
}
