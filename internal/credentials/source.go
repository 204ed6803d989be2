// Package credentials reads from files what nodes and clients need to authenticate: key
// pairs, trusted CAs, and the tokens that a node accepts. A file is read again when it has
// changed, so that a renewed certificate or a revoked token needs no restart. If a change
// cannot be used or read, the previous content stays in force and a warning is logged
// repeatedly.
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

// ErrUnusable is returned for a file with the wrong content.
var ErrUnusable = errors.New("credentials cannot be used")

const (
	// settledAfter is how long a file must be unchanged before its times prove that it is:
	// two changes within one tick of a file system's clock look like one.
	settledAfter = 3 * time.Second
	// warnEvery is how often a warning about unusable files is repeated.
	warnEvery = time.Minute
)

// source is a value that is read from files and read again when they change.
type source[T any] struct {
	paths []string
	parse func(files []pemfile.File) (T, error)
	log   *zap.Logger

	mu      sync.Mutex  // guards the fields below
	seen    []fileState // states of the files when they were last read
	texts   [][]byte    // their content then
	bad     error       // why the current content cannot be used; nil if it can
	value   T
	warned  time.Time // time of the last warning
	warning string    // reason in the last warning; empty once the files can be used
}

// fileState is what shows that a file has changed. No part can be left out: a file may be
// replaced by one of the same age and size, or its permissions may be corrected.
type fileState struct {
	info    os.FileInfo
	changed time.Time // last change of content, owner or permissions; zero: not known
	at      time.Time // time of this observation
}

// same reports whether the file is unchanged since it was read.
func (l *fileState) same(now *fileState) bool {
	if l.info == nil || now.info == nil || !os.SameFile(l.info, now.info) || l.info.Mode().Type() != now.info.Mode().Type() {
		return false // the inode number of a deleted file may be reused
	}
	if !now.info.Mode().IsRegular() {
		return true // a pipe, which can be read only once
	}
	return l.info.Size() == now.info.Size() && l.info.ModTime().Equal(now.info.ModTime()) &&
		l.changed.Equal(now.changed) && l.settled()
}

// settled reports whether the file had been unchanged for long enough when it was read.
func (l *fileState) settled() bool {
	last := l.changed
	if last.IsZero() {
		last = l.info.ModTime()
	}
	return l.at.Sub(last).Abs() > settledAfter // in the future: another machine's clock, which will not help later either
}

// open reads a value for the first time.
func open[T any](log *zap.Logger, parse func(files []pemfile.File) (T, error), paths ...string) (*source[T], error) {
	s := &source[T]{paths: paths, parse: parse, log: log, seen: make([]fileState, len(paths)), texts: make([][]byte, len(paths))}
	_, err := s.refresh()
	return s, err
}

// get returns the current value, or the previous one if the files cannot be used.
func (s *source[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	anew, err := s.refresh()
	switch {
	case err != nil:
		s.warn(err)
	case anew:
		s.log.Info("changed credentials are in force", zap.Strings("files", s.paths))
		fallthrough
	default:
		s.warning = ""
	}
	return s.value
}

// warn logs that the files cannot be used, once for each reason and then from time to time:
// until that is fixed, a token that was removed from them is still accepted.
func (s *source[T]) warn(err error) {
	if err.Error() == s.warning && time.Since(s.warned) < warnEvery {
		return
	}
	s.warning, s.warned = err.Error(), time.Now()
	s.log.Warn("changed credentials cannot be used, the old ones stay in force", zap.Strings("files", s.paths), zap.Error(err))
}

// read reads a file. All callers wait for it, so a pipe, which may block until somebody
// writes to it, is read only at the start.
func (s *source[T]) read(i int, now *fileState) ([]byte, error) {
	switch first := s.texts[i] == nil; {
	case first || now.info == nil || now.info.Mode().IsRegular():
		return os.ReadFile(s.paths[i])
	case s.seen[i].same(now):
		return s.texts[i], nil
	default:
		return nil, fmt.Errorf("%s is no longer a regular file", s.paths[i])
	}
}

// refresh reads the files again if they have changed, and reports whether the value
// differs. A file that could not be read is tried again each time.
func (s *source[T]) refresh() (anew bool, err error) {
	now := make([]fileState, len(s.paths))
	unchanged := true
	for i, path := range s.paths { // before reading: a later write counts as another change
		if info, err := os.Stat(path); err == nil { // or reading it reports what is wrong
			now[i] = fileState{info: info, changed: changeTime(info), at: time.Now()}
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
	s.seen, s.texts, s.warning = now, texts, ""
	value, err := s.parse(files)
	if err != nil {
		s.bad = fmt.Errorf("%w: %w", ErrUnusable, err)
		return false, s.bad
	}
	s.value, s.bad = value, nil
	return true, nil
}
