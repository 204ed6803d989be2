// This file exports all mementos as an archive and imports one.

package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// getExport streams all mementos of one view. An archive has an end marker, so a client notices
// an incomplete one.
func (s *Server) getExport(w http.ResponseWriter, r *http.Request) error {
	reading, err := s.node.Read()
	if err != nil {
		return err
	}
	st := s.node.Status()
	h, view := w.Header(), reading.View
	s.setReadHeaders(h, &reading)
	h.Set("Content-Type", wire.Archive)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", fmt.Sprintf("%s-%d.archive", st.Plane, view.Revision())))
	h.Set("Cache-Control", "no-store")
	h.Set(wire.HeaderQuarantined, strconv.Itoa(view.FaultCount()))
	if r.Method == http.MethodHead {
		return nil
	}
	deadlineWriterOf(w).stream(bodyTimeout)
	deadlineWriterOf(w).recheck(func() error { return s.authorize(r, credentials.Viewer) })
	err = writeArchive(w, archive.Header{Plane: st.Plane, PlaneID: st.PlaneID, Revision: view.Revision()}, view)
	if err != nil {
		s.log.Debug("export not taken to its end", zap.Error(err))
	}
	return abandoned(err)
}

func writeArchive(to io.Writer, h archive.Header, view *rebind.View) error {
	a, err := archive.NewWriter(to, h)
	if err != nil {
		return err
	}
	for m := range view.From("") {
		if err := a.Add(m.Name, &m.Content); err != nil {
			return err
		}
	}
	_, err = a.Close()
	return err
}

// importOptions are the query parameters of an import.
type importOptions struct{ dryRun, replace bool }

func parseImportOptions(v url.Values) (opts importOptions, err error) {
	if opts.dryRun, err = boolParam(v, "dry_run"); err != nil {
		return opts, err
	}
	opts.replace, err = boolParam(v, "replace")
	return opts, err
}

// postImport imports an archive. Nothing is written before the whole archive has arrived and
// was found valid.
func (s *Server) postImport(w http.ResponseWriter, r *http.Request) error {
	opts, err := parseImportOptions(r.URL.Query())
	if err != nil {
		return err
	}
	if opts.replace && !opts.dryRun {
		if err := s.authorize(r, credentials.Admin); err != nil {
			return err
		}
	}
	body := deadlineWriterOf(w)
	body.stream(bodyTimeout)
	r.Body = deadlineBody{body}
	return s.forwarder.streamToMaster(w, r, func(w http.ResponseWriter, r *http.Request) error {
		spooled, err := s.spool(r.Body, r.ContentLength)
		if err != nil {
			return err
		}
		defer spooled.Close()
		if err := s.checkStale(r); err != nil {
			return err
		}
		var done *wire.Imported
		err = withProgress(w, r, func() error {
			done, err = s.importArchive(r.Context(), spooled, opts)
			return err
		})
		if err != nil {
			return err
		}
		s.setRevision(w.Header(), rebind.Revision(done.Revision))
		return reply(w, http.StatusOK, done)
	})
}

// progressInterval is how often a client that waits for a long import is sent a sign of life.
const progressInterval = 10 * time.Second

// withProgress runs do and meanwhile sends the client "102 Processing" from time to time.
func withProgress(w http.ResponseWriter, r *http.Request, do func() error) error {
	over := make(chan struct{})
	var telling sync.WaitGroup
	defer telling.Wait()
	defer close(over)
	telling.Go(func() {
		control := http.NewResponseController(w)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for r.ProtoAtLeast(1, 1) {
			select {
			case <-tick.C:
				_ = control.SetWriteDeadline(time.Now().Add(bodyTimeout)) // fails only for a test's recorder
				w.WriteHeader(http.StatusProcessing)
				_ = control.SetWriteDeadline(time.Time{})
			case <-over:
				return
			}
		}
	})
	return do()
}

// freeSpace returns how many bytes are free in a directory. An empty name means the system's
// directory for temporary files.
func freeSpace(dir string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(cmp.Or(dir, os.TempDir()), &disk); err != nil {
		return 0, fmt.Errorf("look at %s: %w", cmp.Or(dir, os.TempDir()), err)
	}
	return int64(disk.Bavail) * int64(disk.Bsize), nil
}

// spool copies an archive to disk, checks it on the way, and returns the file if the archive is
// valid. The archive may take half of the free space, because the node keeps other things on
// that disk, perhaps its store. size is the length that the client declares, or negative if it
// declares none.
func (s *Server) spool(from io.Reader, size int64) (*os.File, error) {
	space, err := s.freeSpace(s.cfg.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("store the archive: %w: %w", wire.ErrDisk, err)
	}
	out := &spoolWriter{remaining: space / 2}
	if size > out.remaining {
		return nil, fmt.Errorf("store the archive: %w: %w", wire.ErrDisk, errNoSpace)
	}
	file, err := os.CreateTemp(s.cfg.SpoolDir, "import-*")
	if err != nil {
		return nil, fmt.Errorf("store the archive: %w: %w", wire.ErrDisk, err)
	}
	// An unlinked file is removed when the process ends, however it ends.
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("store the archive: %w: %w", wire.ErrDisk, err), file.Close())
	}
	out.to = file
	if err := s.checkArchive(io.TeeReader(from, out)); err != nil {
		if out.err != nil {
			err = fmt.Errorf("store the archive: %w: %w", wire.ErrDisk, out.err)
		}
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// spoolWriter writes to the disk and remembers why that failed, to tell it from a fault of the
// archive.
type spoolWriter struct {
	to        io.Writer
	remaining int64 // bytes that it may still write
	err       error
}

var errNoSpace = errors.New("no space left for it: an archive may take half of what is free")

// Write implements [io.Writer].
func (w *spoolWriter) Write(part []byte) (int, error) {
	if w.remaining -= int64(len(part)); w.remaining < 0 {
		w.err = errNoSpace
		return 0, w.err
	}
	n, err := w.to.Write(part)
	w.err = err
	return n, err
}

// checkArchive reads an archive to its end. It refuses whatever a write would refuse regardless
// of the stored state, so that no import stops half-way for such a reason.
func (s *Server) checkArchive(from io.Reader) error {
	return s.readArchive(from, func(name rebind.Name, c *rebind.Content) error {
		d := rebind.Delta{Ops: []rebind.Op{{Name: name, Put: c}}}
		if err := driver.CheckDelta(&d, s.cfg.MaxPayload); err != nil {
			return fmt.Errorf("%w: %w", archive.ErrBroken, err)
		}
		return nil
	})
}

// readArchive calls each for every memento of an archive.
func (s *Server) readArchive(from io.Reader, each func(rebind.Name, *rebind.Content) error) error {
	a, err := archive.NewReader(from, s.cfg.MaxPayload)
	if err != nil {
		return badRequest("%w", err)
	}
	for {
		name, c, err := a.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(name, c)
		}
		if errors.Is(err, archive.ErrBroken) {
			err = badRequest("%w", err)
		}
		if err != nil {
			return err
		}
	}
}

// importArchive writes what differs between the archive and the state, or only counts it for a
// dry run.
func (s *Server) importArchive(ctx context.Context, spooled *os.File, opts importOptions) (*wire.Imported, error) {
	if !opts.dryRun {
		select {
		case s.importing <- struct{}{}:
			defer func() { <-s.importing }()
		default:
			return nil, fmt.Errorf("%w: another archive is being imported", driver.ErrRefused)
		}
	}
	if _, err := spooled.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the stored archive: %w", err)
	}
	reading, err := s.node.Read()
	if err != nil {
		return nil, err
	}
	imp := newImporter(ctx, s, reading.View, opts)
	err = s.readArchive(spooled, imp.compare)
	if err == nil {
		imp.skipRest()
	}
	return imp.finish(err)
}
