// This file tests batches.

package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// batch sends a batch of operations.
func (n *peer) batch(t *testing.T, ops ...string) *answer {
	t.Helper()
	return n.send(t, http.MethodPost, wire.PathBatch, `{"ops":[`+strings.Join(ops, ",")+`]}`)
}

func TestBatch_IsOneDelta(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/old", "1").want(http.StatusCreated)
	seen := a.put(t, "entity/seen", "1").want(http.StatusCreated).revision()
	done := a.batch(
		t,
		`{"op":"put","type":"entity","id":"json","data": {"b" : 1.00, "a":null}, "parent":"entity/root","schema":7}`,
		`{"op":"put","type":"entity","id":"text","data":"words","content_type":"application/problem+json"}`,
		`{"op":"put","type":"entity","id":"null","data":null}`,
		fmt.Sprintf(`{"op":"put","type":"blob","id":"raw","data_base64":%q,"content_type":"image/png"}`, base64.StdEncoding.EncodeToString([]byte(byteRange()))),
		`{"op":"put","type":"blob","id":"empty","data_base64":"","if_revision":0}`,
		fmt.Sprintf(`{"op":"put","type":"entity","id":"seen","data":2,"if_revision":%d}`, seen),
		`{"op":"delete","type":"entity","id":"old"}`,
		`{"op":"delete","type":"entity","id":"never"}`,
	).want(http.StatusOK).has(wire.HeaderNode, "a").has("ETag", "")
	rev := done.revision()
	done.holds(fmt.Sprintf(`{"revision":%d}`+"\n", rev))

	a.get(t, at("entity/json")).want(http.StatusOK).holds(`{"b" : 1.00, "a":null}`).
		has("Content-Type", "application/json").has(wire.HeaderParent, "entity/root").has(wire.HeaderSchema, "7")
	a.get(t, at("entity/text")).want(http.StatusOK).holds(`"words"`).has("Content-Type", "application/problem+json")
	a.get(t, at("entity/null")).want(http.StatusOK).holds(`null`)
	a.get(t, at("blob/raw")).want(http.StatusOK).holds(byteRange()).has("Content-Type", "image/png").has(wire.HeaderSchema, "0")
	a.get(t, at("blob/empty")).want(http.StatusOK).holds("").has("Content-Type", "application/octet-stream")
	a.get(t, at("entity/seen")).want(http.StatusOK).holds("2")
	a.get(t, at("entity/old")).want(http.StatusNotFound)
	items := a.inventory(t)
	if len(items) != 6 {
		t.Errorf("%d mementos, want 6: %v", len(items), items)
	}
	for _, m := range items {
		if m.ModRevision != rev {
			t.Errorf("%s/%s is of revision %d, the batch was at %d", m.Type, m.ID, m.ModRevision, rev)
		}
	}
}

// refusedBatches are batches that must change nothing. The mementos "x" and "y" exist.
var refusedBatches = map[string]struct {
	body   string
	status int
	kind   string
}{
	"no JSON":                        {`{"ops":[`, 400, wire.KindBadRequest},
	"nothing":                        {``, 400, wire.KindBadRequest},
	"a list":                         {`[{"op":"delete","type":"entity","id":"x"}]`, 400, wire.KindBadRequest},
	"no operations":                  {`{"ops":[]}`, 400, wire.KindBadRequest},
	"no list of operations":          {`{}`, 400, wire.KindBadRequest},
	"an unknown field":               {`{"ops":[{"op":"delete","type":"entity","id":"x"}],"force":true}`, 400, wire.KindBadRequest},
	"an unknown field of one":        {`{"ops":[{"op":"delete","type":"entity","id":"x","force":true}]}`, 400, wire.KindBadRequest},
	"two JSON values":                {`{"ops":[{"op":"delete","type":"entity","id":"x"}]} {}`, 400, wire.KindBadRequest},
	"words after the JSON":           {`{"ops":[{"op":"delete","type":"entity","id":"x"}]} and more`, 400, wire.KindBadRequest},
	"an unknown op":                  {`{"ops":[{"op":"merge","type":"entity","id":"x","data":1}]}`, 400, wire.KindBadRequest},
	"an op in upper case":            {`{"ops":[{"op":"DELETE","type":"entity","id":"x"}]}`, 400, wire.KindBadRequest},
	"no op":                          {`{"ops":[{"type":"entity","id":"x","data":1}]}`, 400, wire.KindBadRequest},
	"one bad op among good ones":     {`{"ops":[{"op":"delete","type":"entity","id":"x"},{"op":"put","type":"entity","id":"..","data":1},{"op":"put","type":"entity","id":"y","data":1}]}`, 400, wire.KindBadRequest},
	"one bad parent among good ones": {`{"ops":[{"op":"delete","type":"entity","id":"x"},{"op":"put","type":"entity","id":"y","data":1,"parent":"y"}]}`, 400, wire.KindBadRequest},
	"a memento twice":                {`{"ops":[{"op":"delete","type":"entity","id":"x"},{"op":"put","type":"entity","id":"x","data":1}]}`, 400, wire.KindBadRequest},
	"both kinds of data":             {`{"ops":[{"op":"put","type":"entity","id":"x","data":1,"data_base64":"MQ=="}]}`, 400, wire.KindBadRequest},
	"neither kind of data":           {`{"ops":[{"op":"put","type":"entity","id":"x"}]}`, 400, wire.KindBadRequest},
	"base64 that is none":            {`{"ops":[{"op":"put","type":"entity","id":"x","data_base64":"M!"}]}`, 400, wire.KindBadRequest},
	"base64 without padding":         {`{"ops":[{"op":"put","type":"entity","id":"x","data_base64":"MQ"}]}`, 400, wire.KindBadRequest},
	"JSON that is not UTF-8":         {"{\"ops\":[{\"op\":\"put\",\"type\":\"entity\",\"id\":\"x\",\"data\":\"\xff\"}]}", 400, wire.KindBadRequest},
	"JSON in base64, not UTF-8":      {`{"ops":[{"op":"put","type":"entity","id":"x","data_base64":"Iv8i","content_type":"application/json"}]}`, 400, wire.KindBadRequest},
	"JSON in base64 that is none":    {`{"ops":[{"op":"put","type":"entity","id":"x","data_base64":"ew==","content_type":"application/json"}]}`, 400, wire.KindBadRequest},
	"a delete with data":             {`{"ops":[{"op":"delete","type":"entity","id":"x","data":1}]}`, 400, wire.KindBadRequest},
	"a delete with a parent":         {`{"ops":[{"op":"delete","type":"entity","id":"x","parent":"entity/y"}]}`, 400, wire.KindBadRequest},
	"a negative revision":            {`{"ops":[{"op":"delete","type":"entity","id":"x","if_revision":-1}]}`, 400, wire.KindBadRequest},
	"a negative schema":              {`{"ops":[{"op":"put","type":"entity","id":"x","data":1,"schema":-1}]}`, 400, wire.KindBadRequest},
	"a content type that is none":    {`{"ops":[{"op":"put","type":"entity","id":"x","data":1,"content_type":"text plain"}]}`, 400, wire.KindBadRequest},
	"a type that is a number":        {`{"ops":[{"op":"put","type":1,"id":"x","data":1}]}`, 400, wire.KindBadRequest},
	"a revision that is not there":   {`{"ops":[{"op":"delete","type":"entity","id":"y"},{"op":"put","type":"entity","id":"x","data":1,"if_revision":1}]}`, 412, wire.KindPrecondition},
	"what must not exist and does":   {`{"ops":[{"op":"delete","type":"entity","id":"y"},{"op":"put","type":"entity","id":"x","data":1,"if_revision":0}]}`, 412, wire.KindPrecondition},
	"a delete of another revision":   {`{"ops":[{"op":"put","type":"entity","id":"y","data":1},{"op":"delete","type":"entity","id":"x","if_revision":1}]}`, 412, wire.KindPrecondition},
}

func TestBatch_RefusedWhole(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	a.put(t, "entity/y", "1").want(http.StatusCreated)
	before := a.inventory(t)
	for name, c := range refusedBatches {
		t.Run(name, func(t *testing.T) {
			a.send(t, http.MethodPost, wire.PathBatch, c.body).refused(c.status, c.kind)
			if diff := cmp.Diff(before, a.inventory(t)); diff != "" {
				t.Errorf("state changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestBatch_SizeLimits(t *testing.T) {
	a := newPlane(t).lead("a")
	ops := make([]string, driver.MaxOps+1)
	for i := range ops {
		ops[i] = fmt.Sprintf(`{"op":"put","type":"entity","id":"%03d","data":%d}`, i, i)
	}
	payload := func(bytes int) string {
		return fmt.Sprintf(`{"op":"put","type":"entity","id":"big","data_base64":%q}`, base64.StdEncoding.EncodeToString(make([]byte, bytes)))
	}
	tooLarge := func(got *answer) {
		t.Helper()
		got.refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	}
	tooLarge(a.batch(t, ops...))
	tooLarge(a.batch(t, payload(maxPayload+1)))
	tooLarge(a.batch(t, ops[0], payload(maxPayload+1)))
	tooLarge(a.send(t, http.MethodPost, wire.PathBatch, `{"ops":[`+ops[0]+`]}`+strings.Repeat(" ", httpapi.MaxBatchBody)))
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written although too large: %v", left)
	}
	a.batch(t, append(ops[:driver.MaxOps-1:driver.MaxOps-1], payload(maxPayload))...).want(http.StatusOK)
	if got := len(a.inventory(t)); got != driver.MaxOps {
		t.Errorf("%d mementos, want %d", got, driver.MaxOps)
	}
}

func TestBatch_IsSentAsJSON(t *testing.T) {
	a := newPlane(t).lead("a")
	const body = `{"ops":[{"op":"put","type":"entity","id":"x","data":1}]}`
	for name, contentType := range map[string]string{
		"plain text":         "text/plain",
		"a form":             "application/x-www-form-urlencoded",
		"no media type":      "json",
		"JSON in disguise":   "text/json",
		"nearly a JSON type": "application/jsonx",
	} {
		t.Run(name, func(t *testing.T) {
			a.do(t, http.MethodPost, wire.PathBatch, []byte(body), "Content-Type", contentType).
				refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
		})
	}
	if left := a.inventory(t); len(left) != 0 {
		t.Errorf("written although refused: %v", left)
	}
	a.do(t, http.MethodPost, wire.PathBatch, []byte(body), "Content-Type", "application/json; charset=utf-8").want(http.StatusOK)
}
