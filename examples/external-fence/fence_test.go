package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/modes"
)

// inProcess is a transport that calls a handler, so that time can be virtual.
type inProcess struct{ http.Handler }

// RoundTrip implements [http.RoundTripper].
func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer.Result(), nil
}

func open(t *testing.T, dir string) *FileServer {
	t.Helper()
	s, err := OpenFileServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A master stands still long enough to be succeeded, and then goes on with a write that it had
// begun in its term. Its store would refuse the write, and so does the file server: by its number.
func TestFileServer_RefusesAnOldTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		server := open(t, dir)
		report := func() string {
			text, err := os.ReadFile(filepath.Join(dir, "files", "report"))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		writer := func(id string) *Writer {
			return &Writer{
				Node: id, Server: "http://files", Client: &http.Client{Transport: inProcess{server}}, Every: time.Second,
				Report: func() []byte { return []byte("by " + id) },
			}
		}
		plane := coordtest.New(t)
		// The write of a's that comes late: it is not bound to the context, as one that is in the
		// network already is not.
		late, woken := make(chan struct{}), make(chan error, 1)
		old := writer("a")
		a := plane.Start(coordinator.Config{ID: "a", Lead: func(ctx context.Context, l *coordinator.Leader) error {
			if err := old.send(ctx, http.MethodPut, "report", l.Term(), []byte("by a")); err != nil {
				t.Error(err)
			}
			select {
			case <-late:
				woken <- old.send(context.WithoutCancel(ctx), http.MethodPut, "report", l.Term(), []byte("by a, late"))
			case <-t.Context().Done():
			}
			return nil
		}})
		a.AwaitState(modes.StateMaster, time.Minute)
		plane.Pass(time.Second)
		if got := report(); got != "by a" {
			t.Fatalf("report = %q, want a's", got)
		}
		b := plane.Start(coordinator.Config{ID: "b", Lead: writer("b").Lead})
		b.AwaitState(modes.StateHotStandby, time.Minute)

		a.Freeze()
		b.AwaitState(modes.StateMaster, time.Minute)
		plane.Pass(time.Second)
		close(late)
		if err := <-woken; !errors.Is(err, ErrFenced) {
			t.Errorf("the late write: %v, want %v", err, ErrFenced)
		}
		a.Thaw()
		plane.Pass(time.Second)
		if got := report(); got != "by b" {
			t.Errorf("report = %q, want b's", got)
		}

		// The server remembers the term over a restart.
		server = open(t, dir)
		old.Client.Transport = inProcess{server}
		if err := old.send(t.Context(), http.MethodPut, "report", 1, nil); !errors.Is(err, ErrFenced) {
			t.Errorf("after a restart: %v, want %v", err, ErrFenced)
		}
	})
}

// A new master raises the fence before it writes anything.
func TestWriter_RaisesTheFenceFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := open(t, t.TempDir())
		plane := coordtest.New(t)
		var asked []string
		w := &Writer{
			Node: "a", Server: "http://files", Every: time.Second, Report: func() []byte { return nil },
			Client: &http.Client{Transport: inProcess{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method+" "+r.URL.Path)
				server.ServeHTTP(w, r)
			})}},
		}
		plane.Start(coordinator.Config{ID: "a", Lead: w.Lead}).AwaitState(modes.StateMaster, time.Minute)
		plane.Pass(time.Millisecond)
		if got := strings.Join(asked, ", "); got != "POST /, PUT /report" {
			t.Errorf("asked %s", got)
		}
	})
}

// What is no write of a known term is refused.
func TestFileServer_RefusesWhatIsNotValid(t *testing.T) {
	server := open(t, t.TempDir())
	for _, c := range []struct {
		method, path, term string
		status             int
	}{
		{http.MethodPut, "/report", "", http.StatusBadRequest},
		{http.MethodPut, "/../term", "1", http.StatusNotFound},
		{http.MethodPut, "/a/b", "1", http.StatusNotFound},
		{http.MethodGet, "/nothing", "", http.StatusNotFound},
		{http.MethodDelete, "/report", "1", http.StatusMethodNotAllowed},
		{http.MethodPut, "/report", "2", http.StatusOK},
		{http.MethodPut, "/report", "2", http.StatusOK},
		{http.MethodPut, "/report", "1", http.StatusConflict},
	} {
		r := httptest.NewRequest(c.method, "http://files/", strings.NewReader("x"))
		r.URL.Path = c.path
		r.Header.Set(HeaderTerm, c.term)
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		if answer.Code != c.status {
			t.Errorf("%s %s in term %q: %d, want %d", c.method, c.path, c.term, answer.Code, c.status)
		}
	}
}
