// This file tests the log level.

package httpapi_test

import (
	"net/http"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// A new log level takes effect at once, and each change is logged if the old or the new level
// allows it.
func TestLogLevel_Changes(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	level := zap.NewAtomicLevel()
	log := zap.New(core, zap.IncreaseLevel(level))
	api := httpapi.New(httpapi.Config{Node: bareNode{}, Logger: log, LogLevel: level})
	t.Cleanup(api.Close)
	n := &peer{id: "a", url: "http://localhost", api: api}

	n.get(t, wire.PathLogLevel).want(http.StatusOK).holds(`{"level":"info"}` + "\n")
	log.Debug("before")
	n.send(t, http.MethodPut, wire.PathLogLevel, `{"level":"debug"}`).want(http.StatusOK).holds(`{"previous":"info","current":"debug"}` + "\n")
	log.Debug("while")
	n.send(t, http.MethodPut, wire.PathLogLevel, `{"level":"ERROR"}`).want(http.StatusOK).holds(`{"previous":"debug","current":"error"}` + "\n")
	log.Warn("after")
	n.get(t, wire.PathLogLevel).want(http.StatusOK).holds(`{"level":"error"}` + "\n")
	for _, bad := range []string{`{"level":"loud"}`, `{"level":"panic"}`, `{"level":""}`, `{}`} {
		n.send(t, http.MethodPut, wire.PathLogLevel, bad).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	if level.Level() != zap.ErrorLevel {
		t.Errorf("level is %s after refused requests, want error", level.Level())
	}

	var said []string
	for _, entry := range logged.All() {
		said = append(said, entry.Message)
	}
	want := []string{"log level changed", "while", "log level changed"}
	if !slices.Equal(said, want) {
		t.Errorf("log = %q, want %q", said, want)
	}
}
