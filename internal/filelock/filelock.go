// Package filelock keeps two processes from using one directory. The kernel holds the lock,
// so it ends with the process, however the process ends.
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

// ErrForeign is returned if the lock file is something else. It is left unchanged.
var ErrForeign = errors.New("not a file of this program, remove it or use a directory that only this user may write to")

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Take takes the lock at path without waiting, and creates the file if it is missing. The
// file contains the holder's process id, for people; it stays when the lock is released.
func Take(path string) (*Lock, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		// A full disk must not prevent locking.
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

// open opens the file and refuses it if another user may have put it there: in a shared
// directory that could be a link to a file to be emptied.
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

// own returns why an open file cannot be a lock file that this program created.
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
		return fmt.Errorf("%w: it is not a regular file", ErrForeign)
	case !ok || !known:
		return nil
	case file.Nlink > 1:
		return fmt.Errorf("%w: it has another name elsewhere", ErrForeign)
	case int(file.Uid) != os.Geteuid() && file.Uid != around.Uid:
		return fmt.Errorf("%w: it belongs to user %d, and neither to this user nor to the directory's owner", ErrForeign, file.Uid)
	default:
		return nil
	}
}

// Release releases the lock.
func (l *Lock) Release() error { return l.file.Close() }
