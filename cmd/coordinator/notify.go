// Reports the node's state to systemd or another service manager.

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/modes"
)

// notifier reports the node's state to the service manager that started this process, in
// the protocol of systemd's sd_notify.
type notifier struct {
	status        func() coordinator.Status
	log           *zap.Logger
	started       time.Time
	watchdogEvery time.Duration // how often to report that the node is alive; 0: never

	readySent    bool      // READY was sent
	lastStatus   string    // the last status that was sent
	watchdogSent time.Time // when it was last reported that the node is alive
}

const (
	// notifyEvery is how soon the service manager learns of a new state.
	notifyEvery = time.Second
	// readyWithin is how long a node that has not yet reached its first state is not
	// reported as started. A node that takes longer, because it loads much or waits for a
	// master, is at work and must not be killed for it.
	readyWithin = 30 * time.Second
)

// notify reports the node to the service manager until ended is closed. Without a service
// manager it returns at once.
func notify(ctx context.Context, ended <-chan struct{}, status func() coordinator.Status, log *zap.Logger) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	limit, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		return usageError{fmt.Errorf("watchdog of the service manager: %w", err)}
	}
	s := &notifier{status: status, log: log, started: time.Now(), watchdogEvery: limit / 3}
	tick := time.NewTicker(notifyEvery)
	if s.watchdogEvery > 0 {
		tick.Reset(min(notifyEvery, s.watchdogEvery))
	}
	defer tick.Stop()
	for {
		s.report()
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.send([]string{sdnotify.SdNotifyStopping, "STATUS=stopping"})
			<-ended
			return nil
		case <-ended:
			return nil
		}
	}
}

// report sends what has changed; what could not be sent is sent again the next time.
func (s *notifier) report() {
	next := *s
	if s.send(next.changes(time.Now())) {
		*s = next
	}
}

// changes returns what the service manager does not know yet.
func (s *notifier) changes(now time.Time) []string {
	var changes []string
	st := s.status()
	if !s.readySent && (st.State != modes.StateInitializing || now.Sub(s.started) > readyWithin) {
		s.readySent = true
		changes = append(changes, sdnotify.SdNotifyReady)
	}
	if text := statusText(&st); text != s.lastStatus {
		s.lastStatus = text
		changes = append(changes, "STATUS="+text)
	}
	if s.watchdogEvery > 0 && now.Sub(s.watchdogSent) >= s.watchdogEvery && httpapi.Live(&st) {
		s.watchdogSent = now
		changes = append(changes, sdnotify.SdNotifyWatchdog)
	}
	return changes
}

// statusText is a node's state in one line, for "systemctl status".
func statusText(st *coordinator.Status) string {
	text := fmt.Sprintf("%s in plane %s", st.State, st.Plane)
	switch {
	case st.State == modes.StateMaster:
		text += fmt.Sprintf(", term %d", st.Term)
	case st.LastError != "":
		text += ": " + printable(strings.ReplaceAll(st.LastError, "\n", "; "))
	}
	return text
}

func (s *notifier) send(changes []string) bool {
	if len(changes) == 0 {
		return true
	}
	_, err := sdnotify.SdNotify(false, strings.Join(changes, "\n"))
	if err != nil {
		s.log.Warn("service manager could not be notified, retrying", zap.Error(err))
	}
	return err == nil
}
