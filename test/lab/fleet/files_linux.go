package fleet

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// canLimit reports whether the limits of another process can be set.
func canLimit() bool { return true }

var errLimit = errors.New("the limit of open files is not as it was set")

// limitFiles lowers what a process may open to what it has open. It returns how many
// that are, and what restores the limit.
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
