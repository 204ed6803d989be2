// Package credentials reads from files what nodes and clients show each other: key
// pairs, the CAs they trust, and the tokens that a node takes. A file is read again
// when it has changed, so that a renewed certificate or a revoked token needs no
// restart. A change that cannot be used leaves in force what was read before.
package credentials

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"go.uber.org/zap"
)

// ErrUnusable is returned for files that do not hold what they should.
var ErrUnusable = errors.New("credentials cannot be used")

// source is a value that is read from files, and read anew when they have changed.
type source[T any] struct {
	paths []string
	parse func(texts [][]byte) (T, error)
	log   *zap.Logger

	mu    sync.Mutex // guards the fields below
	seen  []os.FileInfo
	value T
}

// open reads a value for the first time.
func open[T any](log *zap.Logger, parse func(texts [][]byte) (T, error), paths ...string) (*source[T], error) {
	s := &source[T]{paths: paths, parse: parse, log: log, seen: make([]os.FileInfo, len(paths))}
	s.changed()
	var err error
	s.value, err = s.read()
	return s, err
}

// get returns the value as the files have it, or had it when they could last be used.
func (s *source[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.changed() {
		return s.value
	}
	value, err := s.read()
	if err != nil {
		s.log.Warn("changed credentials cannot be used, going on with those before", zap.Strings("files", s.paths), zap.Error(err))
		return s.value
	}
	s.log.Info("credentials read anew", zap.Strings("files", s.paths))
	s.value = value
	return value
}

// changed notes how the files are, before they are read: what is written while they
// are read is a change again.
func (s *source[T]) changed() bool {
	changed := false
	for i, path := range s.paths {
		now, err := os.Stat(path)
		if err != nil {
			now = nil // one that is not there is told of by reading it
		}
		was := s.seen[i]
		s.seen[i] = now
		switch {
		case was == nil || now == nil:
			changed = changed || (was == nil) != (now == nil)
		default:
			changed = changed || !os.SameFile(was, now) || was.Size() != now.Size() || !was.ModTime().Equal(now.ModTime())
		}
	}
	return changed
}

func (s *source[T]) read() (T, error) {
	var none T
	texts := make([][]byte, len(s.paths))
	for i, path := range s.paths {
		var err error
		if texts[i], err = os.ReadFile(path); err != nil {
			return none, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	value, err := s.parse(texts)
	if err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrUnusable, s.paths[0], err)
	}
	return value, nil
}
