package embedded

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest path of a socket that all systems take.
const maxSocketPath = 100

// socket is where a member listens that no other user of the machine is to reach: in a
// directory of its own, into which nobody else can look.
type socket struct {
	dir       string
	temporary bool // dir is none of the data directory
}

// makeSocket makes the directory of a socket: in the data directory or, where that has
// too long a name, among the temporary ones.
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
		err = os.Chmod(dir, 0o700) // it may have been there
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("make a directory for the socket for clients: %w", err)
	case len(s.path()) > maxSocketPath:
		return s, fmt.Errorf("%w: the socket for clients would be %s, and no system takes more than %d bytes: use a data directory with a shorter name, or a client URL",
			ErrInvalid, s.path(), maxSocketPath)
	}
	return s, nil
}

func (s *socket) path() string { return filepath.Join(s.dir, "etcd.sock") }

func (s *socket) url() *url.URL { return &url.URL{Scheme: "unix", Path: s.path()} }

// remove removes what does not lie in the data directory; nil has nothing.
func (s *socket) remove() error {
	if s == nil || !s.temporary {
		return nil
	}
	return os.RemoveAll(s.dir)
}
