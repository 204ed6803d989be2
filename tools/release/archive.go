package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of an archive.
type file struct {
	name string
	text []byte
	mode int64 // 0 for a read-only file
}

// filesOf reads a file, or all files below a directory, to be stored as name.
func filesOf(from, name string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(from, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(at)
		files = append(files, file{name: path.Join(name, filepath.ToSlash(below)), text: text})
		return err
	})
	return files, err
}

// writeArchive writes files below a directory of that name, in order, with one time and no
// owner.
func writeArchive(at, dir string, when time.Time, files []file) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{
			Name: path.Join(dir, f.name), Size: int64(len(f.text)), Mode: cmp.Or(f.mode, 0o644),
			ModTime: when, Format: tar.FormatPAX, Typeflag: tar.TypeReg,
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := archive.Write(f.text); err != nil {
			return fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return err
	}
	return os.WriteFile(at, packed.Bytes(), 0o644)
}

// sumsName is the file of checksums, in the format of sha256sum -c.
const sumsName = "SHA256SUMS"

// writeSums writes the checksums of all files in a directory.
func writeSums(dir string) error {
	files, err := filesOf(dir, "")
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.text), f.name)
	}
	return os.WriteFile(filepath.Join(dir, sumsName), []byte(sums.String()), 0o644)
}
