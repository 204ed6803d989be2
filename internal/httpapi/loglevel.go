// This file shows and changes the level of the process's log.

package httpapi

import (
	"fmt"
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// ParseLevel reads a log level: debug, info, warn or error.
func ParseLevel(text string) (zapcore.Level, error) {
	level, err := zapcore.ParseLevel(text)
	if err != nil || text == "" || level < zap.DebugLevel || level > zap.ErrorLevel {
		return 0, fmt.Errorf("log level %.20q: use debug, info, warn or error", text)
	}
	return level, nil
}

// checkLogLevel returns an error if clients have no access to the level.
func (s *Server) checkLogLevel() error {
	if s.cfg.LogLevel == (zap.AtomicLevel{}) {
		return wire.NewProblem(http.StatusNotFound, wire.KindNotFound, "this program does not let the level of its log be changed")
	}
	return nil
}

func (s *Server) getLogLevel(w http.ResponseWriter, _ *http.Request) error {
	if err := s.checkLogLevel(); err != nil {
		return err
	}
	return reply(w, http.StatusOK, wire.LogLevel{Level: s.cfg.LogLevel.Level().String()})
}

func (s *Server) putLogLevel(w http.ResponseWriter, r *http.Request) error {
	if err := s.checkLogLevel(); err != nil {
		return err
	}
	var req wire.LogLevelRequest
	if err := decodeBody(w, r, maxControlBody, &req); err != nil {
		return err
	}
	to, err := ParseLevel(req.Level)
	if err != nil {
		return badRequest("%w", err)
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	from := s.cfg.LogLevel.Level()
	s.cfg.LogLevel.SetLevel(min(from, to)) // so that the change is logged in either direction
	s.log.Info("log level changed", zap.Stringer("from", from), zap.Stringer("to", to))
	s.cfg.LogLevel.SetLevel(to)
	return reply(w, http.StatusOK, wire.LogLevelReply{Previous: from.String(), Current: to.String()})
}
