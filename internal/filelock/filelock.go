// Package filelock keeps two processes from using one directory. The lock is the
// kernel's, so it ends with the process however that ends.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrHeld is returned while another process holds the lock.
var ErrHeld = errors.New("in use by another process")

// ErrForeign is returned where something else is in the place of the lock's file. It is
// left as it is.
var ErrForeign = errors.New("not a file of this program's, remove it or use a directory that only this user may write to")

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Take takes the lock that path stands for, without waiting, and makes the file
// if it is not there. The file tells the holder's process id to people; it stays
// when the lock is released.
func Take(path string) (*Lock, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
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

// open opens the file, or says that it is none of ours: in a directory that others may
// write to, somebody can have put a link there to a file that he wants to be emptied.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("lock %s: %w: it is a symbolic link", path, ErrForeign)
	case err != nil:
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := own(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// own tells why an open file is none that a process has made here for its lock.
func own(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	around, known := dir.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file", ErrForeign)
	case !ok || !known:
		return nil
	case file.Nlink > 1:
		return fmt.Errorf("%w: it has another name elsewhere", ErrForeign)
	case int(file.Uid) != os.Geteuid() && file.Uid != around.Uid:
		return fmt.Errorf("%w: it belongs to user %d, and neither to this one nor to the directory's", ErrForeign, file.Uid)
	default:
		return nil
	}
}

// Release gives the lock up.
func (l *Lock) Release() error { return l.file.Close() }
