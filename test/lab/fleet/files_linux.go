package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canLimit reports whether the limits of another process can be set.
func canLimit() bool { return true }

var errLimit = errors.New("the limit of open files is not as it was set")

// limitFiles lowers a process's limit of open files to the number it has open. It returns
// that number, and a func that restores the limit.
func limitFiles(pid int) (open int, restore func() error, err error) {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, nil, fmt.Errorf("count open files: %w", err)
	}
	var before, now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return 0, nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	low := unix.Rlimit{Cur: uint64(len(files)), Max: before.Max}
	err = errors.Join(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil), unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now))
	if err == nil && now != low {
		err = errLimit
	}
	if err != nil {
		return 0, nil, fmt.Errorf("limit open files to %d: %w", len(files), err)
	}
	return len(files), func() error {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
			return fmt.Errorf("raise the limit of open files: %w", err)
		}
		return nil
	}, nil
}

// canFill reports whether a pipe can be filled from its reading end.
func canFill() bool { return true }

// fillPipe fills a pipe, of which this process has the reading end, with meaningless lines.
func fillPipe(out io.Reader) error {
	pipe, ok := out.(syscall.Conn)
	if !ok {
		return fmt.Errorf("fill a pipe: %w", errors.ErrUnsupported)
	}
	raw, err := pipe.SyscallConn()
	if err != nil {
		return fmt.Errorf("fill a pipe: %w", err)
	}
	control := raw.Control(func(fd uintptr) {
		var end int
		if end, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(end)
		lines := append(bytes.Repeat([]byte{' '}, 1023), '\n')
		for size := len(lines); size > 0 && err == nil; {
			if _, err = unix.Write(end, lines[len(lines)-size:]); errors.Is(err, unix.EAGAIN) {
				size, err = size/2, nil
			}
		}
	})
	if err = errors.Join(control, err); err != nil {
		return fmt.Errorf("fill a pipe: %w", err)
	}
	return nil
}
