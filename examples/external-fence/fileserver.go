package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// HeaderTerm is the fencing token of a write: the number of the term in which it is made.
const HeaderTerm = "Fencing-Term"

// maxFile limits a file, in bytes.
const maxFile = 1 << 20

// FileServer keeps files in a directory. It knows nothing of etcd and has no clock; all it does for
// its clients' failover is to refuse a write of a lower term than one that it has seen.
type FileServer struct {
	dir string

	mu   sync.Mutex // guards the field below and the order of writes
	term int64      // the highest seen
}

// OpenFileServer opens a directory. It remembers the highest term there, so that a restart of the
// server does not let an old term in again.
func OpenFileServer(dir string) (*FileServer, error) {
	s := &FileServer{dir: dir}
	text, err := os.ReadFile(s.termFile())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, os.MkdirAll(filepath.Join(dir, "files"), 0o755)
	case err != nil:
		return nil, err
	}
	if s.term, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		return nil, fmt.Errorf("%s: %w", s.termFile(), err)
	}
	return s, nil
}

func (s *FileServer) termFile() string { return filepath.Join(s.dir, "term") }

func (s *FileServer) file(name string) string { return filepath.Join(s.dir, "files", name) }

// ServeHTTP reads a file with GET, writes one with PUT, and raises the fence with POST, without
// writing anything.
func (s *FileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[1:]
	if r.Method != http.MethodPost && !filepath.IsLocal(name) || filepath.Base(name) != name && name != "" {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodGet:
		http.ServeFile(w, r, s.file(name))
	case http.MethodPut, http.MethodPost:
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFile)) // before the lock: it may take long
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if status, err := s.write(r, name, text); err != nil {
			http.Error(w, err.Error(), status)
		}
	default:
		http.Error(w, "use GET, PUT or POST", http.StatusMethodNotAllowed)
	}
}

// write compares the term and writes under one lock: between the two no other write can come.
func (s *FileServer) write(r *http.Request, name string, text []byte) (status int, err error) {
	term, err := strconv.ParseInt(r.Header.Get(HeaderTerm), 10, 64)
	if err != nil {
		return http.StatusBadRequest, fmt.Errorf("%s: %w", HeaderTerm, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.term {
		return http.StatusConflict, fmt.Errorf("term %d is over: term %d has written here", term, s.term)
	}
	if term > s.term { // durable before the write, or an older one could follow it after a crash
		if err := replaceFile(s.termFile(), strconv.AppendInt(nil, term, 10)); err != nil {
			return http.StatusInternalServerError, err
		}
		s.term = term
	}
	if r.Method == http.MethodPost {
		return http.StatusOK, nil
	}
	if err := replaceFile(s.file(name), text); err != nil {
		return http.StatusInternalServerError, err
	}
	return http.StatusOK, nil
}

// replaceFile replaces a file as a whole and returns when that is on the disk.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
