// This file reads arbitrary events.

package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
)

// Whatever a server sends, the reader reaches the end and reports that more was to come. An
// event that was parsed and is written again parses as the same event.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: change\nid: 5\ndata: {\"a\":1}\n\n"))
	f.Add([]byte(": comment\n\nid: 6\n\ndata: two\ndata:lines\r\n\r\ndata\n\ncut off"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		events := client.NewEvents(bytes.NewReader(stream))
		for range len(stream) + 1 {
			ev, err := events.Next()
			if err != nil {
				if !errors.Is(err, client.ErrLost) || !errors.Is(err, io.EOF) {
					t.Fatalf("at the end: %v, want ErrLost and why", err)
				}
				return
			}
			text := fmt.Sprintf("event: %s\nid: %s\ndata: %s\n\n", ev.Kind, ev.ID, strings.ReplaceAll(string(ev.Data), "\n", "\ndata: "))
			again, err := client.NewEvents(strings.NewReader(text)).Next()
			if err != nil || again.Kind != ev.Kind || again.ID != ev.ID || !bytes.Equal(again.Data, ev.Data) {
				t.Fatalf("%+v is read again as %+v, %v", ev, again, err)
			}
		}
		t.Fatal("more events than bytes")
	})
}
