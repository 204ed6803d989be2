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

// supervisor tells the service manager that has started this process how the node
// is, in the protocol of systemd's sd_notify.
type supervisor struct {
	status func() coordinator.Status
	log    *zap.Logger
	begun  time.Time
	pat    time.Duration // how often it is told that the node lives; 0: not asked for

	ready  bool      // that it has been told
	told   string    // the last status told
	patted time.Time // when it was last told that the node lives
}

const (
	// tellEvery is how soon the service manager learns of a new state.
	tellEvery = time.Second
	// settleWithin is for how long a node that is still on its way to its first state
	// is not reported as started. One that takes longer, because it loads much or waits
	// for a master, is at work and not to be killed for it.
	settleWithin = 30 * time.Second
)

// supervise reports a node to the service manager until ended is closed. It returns at
// once where there is none to report to.
func supervise(ctx context.Context, ended <-chan struct{}, status func() coordinator.Status, log *zap.Logger) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	limit, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		return usageError{fmt.Errorf("watchdog of the service manager: %w", err)}
	}
	s := &supervisor{status: status, log: log, begun: time.Now(), pat: limit / 3}
	tick := time.NewTicker(tellEvery)
	if s.pat > 0 {
		tick.Reset(min(tellEvery, s.pat))
	}
	defer tick.Stop()
	for {
		s.report()
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.tell([]string{sdnotify.SdNotifyStopping, "STATUS=stopping"})
			<-ended
			return nil
		case <-ended:
			return nil
		}
	}
}

// report tells the news, and again the next time if it could not.
func (s *supervisor) report() {
	next := *s
	if s.tell(next.news(time.Now())) {
		*s = next
	}
}

// news is what the service manager does not know yet.
func (s *supervisor) news(now time.Time) []string {
	var news []string
	st := s.status()
	if !s.ready && (st.State != modes.StateInitializing || now.Sub(s.begun) > settleWithin) {
		s.ready = true
		news = append(news, sdnotify.SdNotifyReady)
	}
	if text := statusText(&st); text != s.told {
		s.told = text
		news = append(news, "STATUS="+text)
	}
	if s.pat > 0 && now.Sub(s.patted) >= s.pat && httpapi.Live(&st) {
		s.patted = now
		news = append(news, sdnotify.SdNotifyWatchdog)
	}
	return news
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

func (s *supervisor) tell(news []string) bool {
	if len(news) == 0 {
		return true
	}
	_, err := sdnotify.SdNotify(false, strings.Join(news, "\n"))
	if err != nil {
		s.log.Warn("service manager not told, retrying", zap.Error(err))
	}
	return err == nil
}
