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

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// getExport streams all mementos of one view. Who gets less than all of it can tell: an
// archive has an end.
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

// importOptions is what an import is asked to do.
type importOptions struct{ dryRun, replace bool }

func parseImportOptions(v url.Values) (opts importOptions, err error) {
	if opts.dryRun, err = boolParam(v, "dry_run"); err != nil {
		return opts, err
	}
	opts.replace, err = boolParam(v, "replace")
	return opts, err
}

// postImport brings in an archive. Nothing is written before all of it is here and
// found to be whole.
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

// progressInterval is how often a client that waits long is told that it does not wait in
// vain.
const progressInterval = 10 * time.Second

// withProgress does what takes long, and meanwhile tells the client that it is being done.
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
				_ = control.SetWriteDeadline(time.Now().Add(bodyTimeout)) // only a recorder in a test has none
				w.WriteHeader(http.StatusProcessing)
				_ = control.SetWriteDeadline(time.Time{})
			case <-over:
				return
			}
		}
	})
	return do()
}

// freeSpace is how many bytes a directory has room for; an empty name is that of the system's
// directory for temporary files.
func freeSpace(dir string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(cmp.Or(dir, os.TempDir()), &disk); err != nil {
		return 0, fmt.Errorf("look at %s: %w", cmp.Or(dir, os.TempDir()), err)
	}
	return int64(disk.Bavail) * int64(disk.Bsize), nil
}

// spool copies an archive to disk while it checks it, and returns it once it is whole. It
// takes half of the room that there is at most: the node has other things to keep there,
// perhaps a store. size is what the client says that it sends; less than 0 if it does not.
func (s *Server) spool(from io.Reader, size int64) (*os.File, error) {
	space, err := s.freeSpace(s.cfg.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("keep the archive: %w: %w", wire.ErrDisk, err)
	}
	out := &spoolWriter{remaining: space / 2}
	if size > out.remaining {
		return nil, fmt.Errorf("keep the archive: %w: %w", wire.ErrDisk, errNoSpace)
	}
	file, err := os.CreateTemp(s.cfg.SpoolDir, "import-*")
	if err != nil {
		return nil, fmt.Errorf("keep the archive: %w: %w", wire.ErrDisk, err)
	}
	// Without a name it goes with the process, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the archive: %w: %w", wire.ErrDisk, err), file.Close())
	}
	out.to = file
	if err := s.checkArchive(io.TeeReader(from, out)); err != nil {
		if out.err != nil {
			err = fmt.Errorf("keep the archive: %w: %w", wire.ErrDisk, out.err)
		}
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// spoolWriter remembers why a disk takes no more, which is not the archive's fault.
type spoolWriter struct {
	to        io.Writer
	remaining int64 // bytes
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

// checkArchive reads an archive to its end. Whatever a write would be refused for, whatever
// the store holds, is refused here, so that an import does not end half-way for it.
func (s *Server) checkArchive(from io.Reader) error {
	return s.readArchive(from, func(name rebind.Name, c *rebind.Content) error {
		d := rebind.Delta{Ops: []rebind.Op{{Name: name, Put: c}}}
		if err := d.Check(s.cfg.MaxPayload); err != nil {
			return fmt.Errorf("%w: %w", archive.ErrBroken, err)
		}
		return nil
	})
}

// readArchive calls each with the mementos of an archive.
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

// importArchive makes the state what an archive says, or tells what that would change.
func (s *Server) importArchive(ctx context.Context, spooled *os.File, opts importOptions) (*wire.Imported, error) {
	if !opts.dryRun {
		select {
		case s.importing <- struct{}{}:
			defer func() { <-s.importing }()
		default:
			return nil, fmt.Errorf("%w: another archive is being imported", coordinator.ErrRefused)
		}
	}
	if _, err := spooled.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read what was kept of the archive: %w", err)
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
