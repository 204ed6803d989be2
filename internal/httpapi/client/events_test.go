// This file tests the reader of events.

package client_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
)

func TestEvents_AsTheStandardReadsThem(t *testing.T) {
	const stream = ": a comment\n\n" +
		"event: change\nid: 5\ndata: {\"a\":1}\n\n" +
		"id: 6\n\n" + // no data: no event, but the id counts
		"data: two\ndata:lines\n\n" +
		"event:bookmark\r\nid:7\r\ndata\r\n\r\n" +
		"retry: 10\nunknown: x\ndata: : \n\n" +
		"data: cut off"
	events := client.NewEvents(strings.NewReader(stream))
	want := []client.Event{
		{Kind: "change", ID: "5", Data: []byte(`{"a":1}`)},
		{Kind: "message", ID: "6", Data: []byte("two\nlines")},
		{Kind: "bookmark", ID: "7", Data: []byte{}},
		{Kind: "message", ID: "7", Data: []byte(": ")},
	}
	for i := range want {
		got, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
	if _, err := events.Next(); !errors.Is(err, client.ErrLost) || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want ErrLost and why", err)
	}
}

// endless repeats the same line without end.
type endless string

// Read implements [io.Reader].
func (e endless) Read(part []byte) (int, error) { return copy(part, e), nil }

// An event that never ends takes only a limited amount of memory.
func TestEvents_AreBounded(t *testing.T) {
	for _, stream := range []endless{"data: never an end", "data: line after line\n"} {
		if _, err := client.NewEvents(stream).Next(); !errors.Is(err, client.ErrLost) {
			t.Errorf("%q: %v, want ErrLost", stream, err)
		}
	}
}
