package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/logbuffer"
)

// reader returns what is written, as soon as something is.
type reader struct {
	there chan struct{}

	mu  sync.Mutex // guards the field below
	got bytes.Buffer
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.there
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.Write(b)
}

// A serving process goes on while nobody reads its log. The log reports lost lines, and the
// error that ended the process comes last.
func TestServing_LogsToNobody(t *testing.T) {
	r := &reader{there: make(chan struct{})}
	c := &logConfig{level: "info", format: "json"}
	open := sync.OnceFunc(func() { close(r.there) })
	late := time.AfterFunc(20*time.Second, func() {
		t.Error("logging waits for the reader")
		open()
	})
	defer late.Stop()
	var lost int64
	err := c.serving(&cobra.Command{}, streams{err: r}, func(log *logger) error {
		for n := 0; n < 5000 && log.lines.Lost() < 10; n++ {
			log.Info("line", zap.String("long", strings.Repeat("x", 1000)))
		}
		lost = log.lines.Lost()
		if err := log.lines.Sync(); !errors.Is(err, logbuffer.ErrUnread) {
			t.Errorf("sync = %v, want ErrUnread", err)
		}
		open()
		return errors.Join(log.lines.Sync(), usageError{errors.New("out of work")})
	})
	if exitCode(err) != exitUsage || !errors.Is(err, errQuiet) {
		t.Errorf("serving = %v, exit code %d", err, exitCode(err))
	}
	text := strings.TrimSuffix(r.got.String(), "\n")
	lines := strings.Split(text, "\n")
	if last := lines[len(lines)-1]; last != "Error: out of work" {
		t.Errorf("the log ends with %q", last)
	}
	var told struct {
		Level, Msg, TS string
		Lines          int64
	}
	for _, l := range lines {
		if strings.Contains(l, "were lost") {
			if err := json.Unmarshal([]byte(l), &told); err != nil {
				t.Error(err)
			}
		}
	}
	if told.Lines != lost || told.Level != "warn" || told.TS == "" {
		t.Errorf("of %d lines lost the log says %+v", lost, told)
	}
}
