package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// stopper cancels a command once its output contains a text.
type stopper struct {
	mu    sync.Mutex // guards the fields below
	text  bytes.Buffer
	after string
	stop  func()
}

// Write implements [io.Writer].
func (s *stopper) Write(part []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(part)
	if strings.Contains(s.text.String(), s.after) {
		s.stop()
	}
	return len(part), nil
}

// An interrupted watch resumes with the id of the last event, a change or a bookmark, and
// only a refusal or the user ends it.
func TestWatch_GoesOnWhereItWas(t *testing.T) {
	var asked []string
	answers := []string{
		"event: bookmark\nid: 5\ndata: {\"revision\":5}\n\n" +
			"event: change\nid: 6\ndata: {\"revision\":6,\"changes\":[{\"op\":\"put\",\"type\":\"entity\",\"id\":\"x\",\"mod_revision\":6,\"parent\":\"\",\"content_type\":\"\",\"schema\":0,\"create_revision\":6,\"version\":1,\"size\":2048,\"data_base64\":\"\"}]}\n\n" +
			"event: bookmark\nid: 9\ndata: {\"revision\":9}\n\n" +
			"event: error\ndata: {\"type\":\"" + wire.KindGone + "\",\"title\":\"Gone\",\"status\":410,\"detail\":\"too slow\"}\n\n",
		"", // not now
		"event: bookmark\nid: 9\ndata: {\"revision\":9}\n\n" +
			"event: change\nid: 10\ndata: {\"revision\":10,\"changes\":[{\"op\":\"delete\",\"type\":\"entity\",\"id\":\"x\",\"mod_revision\":10},{\"op\":\"put\",\"type\":\"entity\",\"id\":\"y\",\"mod_revision\":10,\"fault\":\"odd\"}]}\n\n",
	}
	node := httptest.NewServer(aNode(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, fmt.Sprintf("%s %s", r.URL.RawQuery, r.Header.Get(wire.HeaderLastEvent)))
		answer := answers[min(len(asked), len(answers))-1]
		if answer == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer node.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &stopper{after: "odd", stop: cancel}
	var errOut bytes.Buffer
	code := execute(ctx, []string{"memento", "watch", "entity", "--from", "5", "--server", node.URL, "--timeout", "10s"}, streams{in: strings.NewReader(""), out: out, err: &errOut})
	if code != exitDone {
		t.Errorf("exit code %d, want %d: %s", code, exitDone, &errOut)
	}
	const want = "6         put     entity/x  2.0 KiB\n" +
		"10        delete  entity/x\n" +
		"10        put     entity/y  cannot be used: odd\n"
	if got := out.text.String(); got != want {
		t.Errorf("output:\n%s\nwant:\n%s", got, want)
	}
	const query = "from_revision=5&type=entity"
	if want := []string{query + " ", query + " 9", query + " 9"}; fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	if !strings.Contains(errOut.String(), "going on after revision 9") || !strings.Contains(errOut.String(), "too slow") {
		t.Errorf("it does not say that it was interrupted, and why: %s", &errOut)
	}
}

func TestWatch_EndsForWhatDoesNotChange(t *testing.T) {
	for status, want := range map[int]int{400: exitUsage, 410: exitFailed, 503: exitRefused} {
		handler := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		if code, stderr := runAgainst(t, handler, "memento", "watch"); code != want || stderr == "" {
			t.Errorf("%d at first: exit code %d, want %d: %s", status, code, want, stderr)
		}
	}
	first := true
	handler := func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			_, _ = io.WriteString(w, "event: bookmark\nid: 5\ndata: {\"revision\":5}\n\n")
			return
		}
		w.WriteHeader(http.StatusGone)
	}
	if code, stderr := runAgainst(t, handler, "memento", "watch"); code != exitFailed || !strings.Contains(stderr, "410") {
		t.Errorf("410 later: exit code %d, want %d: %s", code, exitFailed, stderr)
	}
}
