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

// outfile is a file that a command writes. A regular file, or one that is not there yet,
// is there whole or as it was before; what is none, a device or a pipe, is written to.
// Behind a symbolic link it is the link's target that is written.
type outfile struct {
	*os.File
	pending *renameio.PendingFile // nil: what is written counts at once
	fresh   bool                  // it was not there, and is removed if it is not committed
	path    string
}

// createFile opens a file for writing. A new one is its owner's alone, one that is there
// keeps its mode and its owner. End it with commit, and call discard in any case.
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
	// Whoever may not write a file may not replace it either.
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

// createNew is createFile for what is not to replace a file that is there.
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

// replaceFile makes the file that is to take the place of target, which is like before,
// nil if it is not there.
func replaceFile(path, target string, before fs.FileInfo) (*outfile, error) {
	pending, err := renameio.NewPendingFile(target, renameio.WithTempDir(filepath.Dir(target)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: no file can be made beside it, to take its place when it is whole: %w", path, err)}
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

// commit ends the file, and puts it in its place.
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

// discard leaves what was there before, unless the file was committed.
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

// maxLinks is how many symbolic links are followed, one after the other.
const maxLinks = 40

// followLinks returns what a path leads to: no symbolic link, but for those by which the
// system names open files, which lead to no path. It need not be there.
func followLinks(path string) (string, error) {
	for range maxLinks {
		if _, own := descriptor(path); own {
			return path, nil
		}
		next, err := os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist): // no link, or nothing
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

// openFiles are the names of this process's own open files.
var openFiles = regexp.MustCompile(`^/(?:dev/fd|proc/self/fd|proc/thread-self/fd|proc/(\d+)/fd)/(\d+)$`)

// descriptor returns which open file of this process a path names, if it does.
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

// openDescriptor writes to an open file of this process, from where it is.
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

// noting is a writer that remembers why it took no more.
type noting struct {
	to     io.Writer
	failed error
}

// Write implements [io.Writer].
func (n *noting) Write(part []byte) (int, error) {
	written, err := n.to.Write(part)
	if err != nil {
		n.failed = err
	}
	return written, err
}
