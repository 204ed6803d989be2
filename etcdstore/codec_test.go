package etcdstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// stored are values as the first version of the program wrote them. They are read
// for ever: a failure here means that stored planes have become unreadable.
var stored = map[string]rebind.Content{
	"plain.memento": {Payload: []byte("hello\n")},
	"full.memento": {
		Parent: "entity/web", ContentType: "text/plain; charset=utf-8", Schema: 3,
		Payload: []byte("line one\nline two"),
	},
	"empty.memento": {Payload: []byte{}},
}

func TestCodec_ReadsAndWritesTheStoredFormat(t *testing.T) {
	for name, want := range stored {
		value, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		got, node, term, op, err := etcdstore.Decode(value)
		if err != nil || node != "node-1" || term != 42 || op != "OP7" {
			t.Errorf("%s: by %s in term %d as %s, %v", name, node, term, op, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if again := etcdstore.Encode(&want, "node-1", 42, "OP7"); again != string(value) {
			t.Errorf("%s: written as %q, stored as %q", name, again, value)
		}
	}
}

func TestCodec_RefusesWhatItDoesNotKnow(t *testing.T) {
	cases := map[string]string{
		"empty":                 "",
		"no header line":        "memento/1 node=a term=1 op=x",
		"JSON of someone's":     `{"a":1}` + "\n",
		"a newer format":        "memento/2 node=a term=1 op=x\npayload",
		"an unknown field":      "memento/1 node=a term=1 op=x colour=red\npayload",
		"a term that is none":   "memento/1 node=a term=one op=x\npayload",
		"a schema that is none": "memento/1 node=a term=1 op=x schema=new\npayload",
		"a parent that is none": "memento/1 node=a term=1 op=x parent=nobody\npayload",
		"no operation":          "memento/1 node=a term=1\npayload",
	}
	for name, value := range cases {
		if c, _, _, _, err := etcdstore.Decode([]byte(value)); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func anyContent(t *rapid.T) rebind.Content {
	c := rebind.Content{
		Schema:      rapid.Int64Range(0, 9).Draw(t, "schema"),
		ContentType: rapid.SampledFrom([]string{"", "application/json", `text/plain; x="a = b"`}).Draw(t, "type"),
		Payload:     rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
	}
	if rapid.Bool().Draw(t, "has parent") {
		c.Parent = rebind.Name(rapid.StringMatching(`[a-z][a-z0-9_-]{0,5}/[A-Za-z0-9_~-]{1,9}`).Draw(t, "parent"))
	}
	return c
}

func TestCodec_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyContent(t)
		got, node, term, op, err := etcdstore.Decode([]byte(etcdstore.Encode(&want, "n~1", 7, "OP")))
		if err != nil || node != "n~1" || term != 7 || op != "OP" {
			t.Fatalf("by %s in %d as %s, %v", node, term, op, err)
		}
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("payload = %q, want %q", got.Payload, want.Payload)
		}
		got.Payload, want.Payload = nil, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What is not ours never makes the program fall over, and what is accepted says
// the same when it is written again.
func FuzzDecode(f *testing.F) {
	for name := range stored {
		value, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Add([]byte("memento/1 node= term=-1 op=x type=\n"))
	f.Fuzz(func(t *testing.T, value []byte) {
		c, node, term, op, err := etcdstore.Decode(value)
		if err != nil {
			return
		}
		if strings.ContainsAny(node+op+c.ContentType, "\n") {
			t.Errorf("a field holds a line break: %q %q %q", node, op, c.ContentType)
		}
		again, _, _, _, err := etcdstore.Decode([]byte(etcdstore.Encode(&c, node, term, op)))
		if err != nil || !bytes.Equal(again.Payload, c.Payload) {
			t.Errorf("%q is read as %+v, and that is written so that it cannot be read: %v", value, c, err)
		}
	})
}
