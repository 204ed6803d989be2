package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/modes"
)

// ask sends a request to a node and returns the answer.
func ask(n *coordtest.Node, method, target, body string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	(&Service{n.Node}).ServeHTTP(answer, httptest.NewRequest(method, target, strings.NewReader(body)))
	return answer
}

// want checks the status of an answer, and its body if that is 200.
func want(t *testing.T, answer *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if answer.Code != status || status == http.StatusOK && answer.Body.String() != body {
		t.Errorf("answer = %d %s, want %d %s", answer.Code, answer.Body, status, body)
	}
}

// A backup answers reads within the bound that the reader gives, also while there is no master. Cut
// off from the store it answers as long as its copy is young enough, and then refuses.
func TestService_KeepsToTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := coordtest.New(t)
		a := plane.Start(coordinator.Config{ID: "a"})
		a.AwaitState(modes.StateMaster, time.Minute)
		b := plane.Start(coordinator.Config{ID: "b", Mode: modes.HotBackup})
		b.AwaitState(modes.StateHotBackup, time.Minute)

		want(t, ask(a, http.MethodPut, "/config/color", "red"), http.StatusOK, "")
		want(t, ask(b, http.MethodGet, "/config/color?max_age=0s", ""), http.StatusOK, "red")
		want(t, ask(b, http.MethodGet, "/config/size", ""), http.StatusNotFound, "")
		moved := ask(b, http.MethodPut, "/config/color", "blue")
		if moved.Code != http.StatusTemporaryRedirect || moved.Header().Get("Location") != "http://a/config/color" {
			t.Errorf("put at a backup: %d to %q, want that it is sent to the master", moved.Code, moved.Header().Get("Location"))
		}

		b.Partition()
		want(t, ask(a, http.MethodPut, "/config/color", "green"), http.StatusOK, "")
		plane.Pass(10 * time.Second)
		want(t, ask(b, http.MethodGet, "/config/color", ""), http.StatusServiceUnavailable, "")
		old := ask(b, http.MethodGet, "/config/color?max_age=1m", "")
		want(t, old, http.StatusOK, "red") // as old as the reader allows, and says so
		if age, err := time.ParseDuration(old.Header().Get(HeaderAge)); err != nil || age < 9*time.Second || age > time.Minute {
			t.Errorf("age = %s %v, want about ten seconds", age, err)
		}
		b.Heal()
		b.AwaitState(modes.StateHotBackup, time.Minute)
		want(t, ask(b, http.MethodGet, "/config/color?max_age=0s", ""), http.StatusOK, "green")

		a.Kill()
		plane.Pass(plane.TTL() + 10*time.Second)
		want(t, ask(b, http.MethodGet, "/config/color", ""), http.StatusOK, "green")
		want(t, ask(b, http.MethodPut, "/config/color", "blue"), http.StatusServiceUnavailable, "")
		c := plane.Start(coordinator.Config{ID: "c"})
		c.AwaitState(modes.StateMaster, time.Minute)
		want(t, ask(c, http.MethodPut, "/config/color", "blue"), http.StatusOK, "")
		want(t, ask(b, http.MethodGet, "/config/color?max_age=0s", ""), http.StatusOK, "blue")
	})
}

// An answer is never older than the bound, however the copy lags: whatever was answered to a writer
// longer ago than the bound is in it.
func TestService_IsNeverOlderThanTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := coordtest.New(t)
		a := plane.Start(coordinator.Config{ID: "a"})
		a.AwaitState(modes.StateMaster, time.Minute)
		b := plane.Start(coordinator.Config{ID: "b", Mode: modes.HotBackup})
		b.AwaitState(modes.StateHotBackup, time.Minute)
		want(t, ask(a, http.MethodPut, "/config/n", "0"), http.StatusOK, "")
		plane.Pass(time.Minute)
		for n := range 50 {
			switch n % 10 {
			case 3:
				b.Partition()
			case 7:
				b.Heal()
			}
			want(t, ask(a, http.MethodPut, "/config/n", strings.Repeat("x", n+1)), http.StatusOK, "")
			plane.Pass(2 * time.Second)
			got := ask(b, http.MethodGet, "/config/n?max_age=3s", "")
			// What was put 4 s ago, that is two rounds back, is at least there.
			if got.Code == http.StatusOK && n > 1 && got.Body.Len() < n-1 {
				t.Errorf("round %d: the answer is of round %d, which is older than the bound", n, got.Body.Len()-1)
			}
		}
	})
}
