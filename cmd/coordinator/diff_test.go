package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// pastServer lists the mementos of each revision, on small pages.
func pastServer(t *testing.T, at map[string][]wire.Memento) *httptest.Server {
	s := httptest.NewServer(aNode(func(w http.ResponseWriter, r *http.Request) {
		all := at[r.URL.Query().Get("revision")]
		first, _ := strconv.Atoi(r.URL.Query().Get("after"))
		const size = 3
		page := wire.List{Items: all[first:min(first+size, len(all))]}
		if first+size < len(all) {
			page.Next = strconv.Itoa(first + size)
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(s.Close)
	return s
}

// Merging two listings page by page finds the same differences as comparing them whole.
func TestDiff_MergesPages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		at := make(map[string][]wire.Memento)
		byName := map[string]map[string]int64{"1": {}, "2": {}}
		for i := range 40 {
			m := wire.Memento{Type: "entity", ID: fmt.Sprintf("%02d", i)}
			for _, rev := range []string{"1", "2"} {
				if m.ModRevision = 1 + random.Int64N(2); random.IntN(3) > 0 {
					at[rev] = append(at[rev], m)
					byName[rev][m.ID] = m.ModRevision
				}
			}
		}
		var want []difference
		for i := range 40 {
			id := fmt.Sprintf("%02d", i)
			d := difference{Type: "entity", ID: id, From: byName["1"][id], To: byName["2"][id]}
			switch {
			case d.From == d.To:
				continue
			case d.From == 0:
				d.Change = "created"
			case d.To == 0:
				d.Change = "deleted"
			default:
				d.Change = "changed"
			}
			want = append(want, d)
		}
		var out bytes.Buffer
		o := &operator{streams: streams{out: &out}, server: pastServer(t, at).URL, timeout: time.Minute, output: "json"}
		if err := o.diff(t.Context(), 1, 2); err != nil {
			t.Fatal(err)
		}
		var got struct{ Items []difference }
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, out.Bytes())
		}
		if diff := cmp.Diff(want, got.Items); diff != "" {
			t.Fatalf("differences (-want +got):\n%s", diff)
		}
	}
}
