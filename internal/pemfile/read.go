package pemfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	// maxBytes is the largest file of certificates, keys or passwords that is read.
	maxBytes = 1 << 20
	// pipeTimeout is how long a pipe may take to deliver its content.
	pipeTimeout = 2 * time.Second
	// pipePoll is how often a pipe without a writer is read again.
	pipePoll = 10 * time.Millisecond
)

// Read reads a whole file, which may be a pipe. It returns an error for a file that has no
// end or is too large, and for a pipe that does not deliver in time, so that no file can
// keep the program waiting or fill its memory.
func Read(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe that nobody writes to would never return.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(pipeTimeout)
	pipe := info.Mode()&fs.ModeNamedPipe != 0
	if pipe {
		if err := f.SetReadDeadline(deadline); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	for {
		text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
		switch {
		case len(text) > maxBytes:
			return nil, fmt.Errorf("read %s: it is larger than %d bytes", path, maxBytes)
		case errors.Is(err, os.ErrDeadlineExceeded), pipe && err == nil && len(text) == 0 && time.Now().After(deadline):
			return nil, fmt.Errorf("read %s: it is a pipe, and did not deliver its content within %s", path, pipeTimeout)
		case err != nil:
			return nil, err
		case !pipe || len(text) > 0:
			return text, nil
		}
		<-time.After(pipePoll) // the writer has not opened it yet
	}
}
