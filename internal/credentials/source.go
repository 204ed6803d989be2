// Package credentials reads from files what nodes and clients show each other: key
// pairs, the CAs they trust, and the tokens that a node takes. A file is read again
// when it has changed, so that a renewed certificate or a revoked token needs no
// restart. A change that cannot be used, or not be read, leaves in force what was read
// before, and is said for as long as it lasts.
package credentials

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// ErrUnusable is returned for files that do not hold what they should.
var ErrUnusable = errors.New("credentials cannot be used")

const (
	// settledAfter is how long a file has to be unchanged for its times to prove that it is:
	// two changes within one tick of a file system's clock look like one.
	settledAfter = 3 * time.Second
	// saidEvery is how often it is said that what the files hold cannot be used.
	saidEvery = time.Minute
)

// source is a value that is read from files, and read anew when they have changed.
type source[T any] struct {
	paths []string
	parse func(files []pemfile.File) (T, error)
	log   *zap.Logger

	mu    sync.Mutex // guards the fields below
	seen  []look     // of the files as they were read last
	texts [][]byte   // what they held
	bad   error      // why that cannot be used; nil if it can
	value T
	said  time.Time // when it was last said that the files cannot be used
	fault string    // and why; empty once they can
}

// look is what tells a file from what it was before. Without any of its parts a file can
// change unseen: one that is replaced by one of the same age and size, or whose
// permissions are put right.
type look struct {
	info    os.FileInfo
	changed time.Time // its content, owner or permissions; zero where that is not known
	at      time.Time // when it was looked at
}

// same reports whether the file is as it was when it was read.
func (l *look) same(now *look) bool {
	if l.info == nil || now.info == nil || !os.SameFile(l.info, now.info) || l.info.Mode().Type() != now.info.Mode().Type() {
		return false // the number of a file that is gone may be another's
	}
	if !now.info.Mode().IsRegular() {
		return true // a pipe, which holds nothing any more
	}
	return l.info.Size() == now.info.Size() && l.info.ModTime().Equal(now.info.ModTime()) &&
		l.changed.Equal(now.changed) && l.settled()
}

// settled reports whether the file had not changed for long enough when it was read.
func (l *look) settled() bool {
	last := l.changed
	if last.IsZero() {
		last = l.info.ModTime()
	}
	return l.at.Sub(last).Abs() > settledAfter // in the future: another machine's clock, which says no more later
}

// open reads a value for the first time.
func open[T any](log *zap.Logger, parse func(files []pemfile.File) (T, error), paths ...string) (*source[T], error) {
	s := &source[T]{paths: paths, parse: parse, log: log, seen: make([]look, len(paths)), texts: make([][]byte, len(paths))}
	_, err := s.refresh()
	return s, err
}

// get returns the value as the files have it, or had it when they could last be used.
func (s *source[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	anew, err := s.refresh()
	switch {
	case err != nil:
		s.complain(err)
	case anew:
		s.log.Info("credentials read anew", zap.Strings("files", s.paths))
		fallthrough
	default:
		s.fault = ""
	}
	return s.value
}

// complain says that the files cannot be used, once for each reason and then now and
// then: until that is put right, a token that was revoked in them is still taken.
func (s *source[T]) complain(err error) {
	if err.Error() == s.fault && time.Since(s.said) < saidEvery {
		return
	}
	s.fault, s.said = err.Error(), time.Now()
	s.log.Warn("changed credentials cannot be used, going on with those before", zap.Strings("files", s.paths), zap.Error(err))
}

// read reads a file. All who show credentials wait for it, so what may keep them waiting
// is read at the start alone: a pipe has no end before somebody writes to it.
func (s *source[T]) read(i int, now *look) ([]byte, error) {
	switch first := s.texts[i] == nil; {
	case first || now.info == nil || now.info.Mode().IsRegular():
		return os.ReadFile(s.paths[i])
	case s.seen[i].same(now):
		return s.texts[i], nil
	default:
		return nil, fmt.Errorf("%s is no regular file any more", s.paths[i])
	}
}

// refresh takes up what the files hold, and reports whether that is another value. Only
// what was read has been seen: a file that cannot be read is tried again each time.
func (s *source[T]) refresh() (anew bool, err error) {
	now := make([]look, len(s.paths))
	unchanged := true
	for i, path := range s.paths { // before they are read: what is written meanwhile is a change again
		if info, err := os.Stat(path); err == nil { // or reading it tells what is wrong
			now[i] = look{info: info, changed: changeTime(info), at: time.Now()}
		}
		unchanged = unchanged && s.seen[i].same(&now[i])
	}
	if unchanged {
		return false, s.bad
	}
	files := make([]pemfile.File, len(s.paths))
	texts := make([][]byte, len(s.paths))
	for i, path := range s.paths {
		if texts[i], err = s.read(i, &now[i]); err != nil {
			return false, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		files[i] = pemfile.File{Path: path, Text: texts[i]}
	}
	if s.texts[0] != nil && slices.EqualFunc(texts, s.texts, bytes.Equal) {
		s.seen = now
		return false, s.bad
	}
	s.seen, s.texts, s.fault = now, texts, ""
	value, err := s.parse(files)
	if err != nil {
		s.bad = fmt.Errorf("%w: %w", ErrUnusable, err)
		return false, s.bad
	}
	s.value, s.bad = value, nil
	return true, nil
}
