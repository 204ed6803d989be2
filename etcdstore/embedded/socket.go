// The socket of a member that only its own user may reach.

package embedded

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest socket path that all systems accept.
const maxSocketPath = 100

// socket is where a member listens that other users of the machine must not reach: in a
// directory of its own that only this user can read.
type socket struct {
	dir       string
	temporary bool // dir is outside the data directory
}

// makeSocket creates the directory of a socket: in the data directory or, if that has too
// long a path, in the directory for temporary files.
func makeSocket(data string) (*socket, error) {
	dir, err := filepath.Abs(filepath.Join(data, "client"))
	if err != nil {
		return nil, fmt.Errorf("name the socket for clients: %w", err)
	}
	s := &socket{dir: dir}
	if len(s.path()) > maxSocketPath {
		s.temporary = true
		s.dir, err = os.MkdirTemp("", "coordinator-")
	} else if err = os.MkdirAll(dir, 0o700); err == nil {
		err = os.Chmod(dir, 0o700) // it may exist already
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("create a directory for the socket for clients: %w", err)
	case len(s.path()) > maxSocketPath:
		return s, fmt.Errorf("%w: the socket for clients would be %s, and systems accept at most %d bytes: use a data directory with a shorter path, or a client URL",
			ErrInvalid, s.path(), maxSocketPath)
	}
	return s, nil
}

func (s *socket) path() string { return filepath.Join(s.dir, "etcd.sock") }

func (s *socket) url() *url.URL { return &url.URL{Scheme: "unix", Path: s.path()} }

// remove removes the socket's directory if it is outside the data directory. A nil socket
// is ignored.
func (s *socket) remove() error {
	if s == nil || !s.temporary {
		return nil
	}
	return os.RemoveAll(s.dir)
}
