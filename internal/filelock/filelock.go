// Package filelock keeps two processes from using one directory. The lock is the
// kernel's, so it ends with the process however that ends.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrHeld is returned while another process holds the lock.
var ErrHeld = errors.New("in use by another process")

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Take takes the lock that path stands for, without waiting, and makes the file
// if it is not there. The file tells the holder's process id to people; it stays
// when the lock is released.
func Take(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		// A disk that is full keeps nobody from locking.
		_ = f.Truncate(0)
		_, _ = fmt.Fprintln(f, os.Getpid())
		return &Lock{file: f}, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrHeld
		var pid int
		if _, scan := fmt.Fscan(f, &pid); scan == nil {
			err = fmt.Errorf("%w, of pid %d", ErrHeld, pid)
		}
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
}

// Release gives the lock up.
func (l *Lock) Release() error { return l.file.Close() }
