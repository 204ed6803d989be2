// Files that commands write: whole or not at all.

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"github.com/google/renameio/v2"
)

// outfile is a file that a command writes. A regular or new file is written whole or not at
// all; a device or a pipe is written to directly. A symbolic link stays, and its target is
// written.
type outfile struct {
	*os.File
	pending *renameio.PendingFile // nil: written directly
	fresh   bool                  // it is new, and is removed if it is not committed
	path    string
}

// createFile opens a file for writing. A new file is readable by its owner only; an
// existing one keeps its mode and owner. End it with commit, and call discard in any case.
func createFile(path string) (*outfile, error) {
	target, err := followLinks(path)
	switch {
	case path == "":
		return nil, usageError{errors.New("the name of a file is empty")}
	case err != nil:
		return nil, usageError{err}
	}
	if fd, own := descriptor(target); own {
		return openDescriptor(path, fd)
	}
	info, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return replaceFile(path, target, nil)
	case err != nil:
		return nil, usageError{err}
	case info.IsDir():
		return nil, usageError{fmt.Errorf("%s is a directory: name a file in it", path)}
	}
	// Without the right to write the file, replacing it is refused too.
	file, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err != nil {
		return nil, usageError{err}
	}
	if !info.Mode().IsRegular() {
		return &outfile{File: file, path: path}, nil
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return replaceFile(path, target, info)
}

// createNew is createFile for a file that must not exist yet.
func createNew(path string) (*outfile, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return &outfile{File: file, fresh: true, path: path}, nil
	}
	info, stat := os.Stat(path)
	if errors.Is(err, fs.ErrExist) && stat == nil && !info.Mode().IsRegular() {
		return createFile(path)
	}
	return nil, usageError{err}
}

// replaceFile opens a temporary file that is to replace target and takes over its mode and
// owner; before is nil if target does not exist.
func replaceFile(path, target string, before fs.FileInfo) (*outfile, error) {
	pending, err := renameio.NewPendingFile(target, renameio.WithTempDir(filepath.Dir(target)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: cannot create the temporary file that is to replace it in its directory: %w", path, err)}
	}
	f := &outfile{File: pending.File, pending: pending, path: path}
	if before == nil {
		return f, nil
	}
	if owner, ok := before.Sys().(*syscall.Stat_t); ok {
		err = pending.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err = errors.Join(err, pending.Chmod(before.Mode().Perm())); err != nil {
		f.discard()
		return nil, usageError{fmt.Errorf("%s would not keep its owner and mode, remove it or name another file: %w", path, err)}
	}
	return f, nil
}

// commit closes the file and moves it into its place.
func (f *outfile) commit() error {
	end := f.Close
	if f.pending != nil {
		end = f.pending.CloseAtomicallyReplace
	}
	if err := end(); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.fresh = false
	return nil
}

// discard restores what was there before, unless the file was committed.
func (f *outfile) discard() {
	if f.pending != nil {
		_ = f.pending.Cleanup()
		return
	}
	_ = f.Close()
	if f.fresh {
		_ = os.Remove(f.path)
	}
}

// maxLinks limits how many symbolic links are followed in a row.
const maxLinks = 40

// followLinks resolves the symbolic links of a path, except those with which the system
// names open files: they lead to no path. The result need not exist.
func followLinks(path string) (string, error) {
	for range maxLinks {
		if _, own := descriptor(path); own {
			return path, nil
		}
		next, err := os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist): // not a link, or missing
			return path, nil
		case err != nil:
			return "", err
		case !filepath.IsAbs(next):
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// openFiles matches the names of this process's own open files.
var openFiles = regexp.MustCompile(`^/(?:dev/fd|proc/self/fd|proc/thread-self/fd|proc/(\d+)/fd)/(\d+)$`)

// descriptor returns the open file of this process that a path names, if it names one.
func descriptor(path string) (fd int, own bool) {
	switch path {
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	found := openFiles.FindStringSubmatch(filepath.Clean(path))
	if found == nil || found[1] != "" && found[1] != strconv.Itoa(os.Getpid()) {
		return 0, false
	}
	fd, err := strconv.Atoi(found[2])
	return fd, err == nil
}

// openDescriptor duplicates an open file of this process, to write from its current
// position.
func openDescriptor(path string, fd int) (*outfile, error) {
	again, err := syscall.Dup(fd)
	if err != nil {
		return nil, usageError{fmt.Errorf("open %s: %w", path, err)}
	}
	return &outfile{File: os.NewFile(uintptr(again), path), path: path}, nil
}

// isStdout reports whether a path is another name for standard output.
func isStdout(path string) bool {
	target, err := followLinks(path)
	fd, own := descriptor(target)
	return path == "-" || err == nil && own && fd == 1
}

// errorRecorder is a writer that remembers why a write failed.
type errorRecorder struct {
	to     io.Writer
	failed error
}

// Write implements [io.Writer].
func (n *errorRecorder) Write(part []byte) (int, error) {
	written, err := n.to.Write(part)
	if err != nil {
		n.failed = err
	}
	return written, err
}
