// This file gives each part of an answer and of a body its deadline, so that a slow client is
// cut off and a steady one is not.

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

const (
	// partSize is how much is written to a client at a time, each part with its own deadline.
	partSize = 32 << 10
	// bodyCopies is how many copies of a body are in memory while the request is carried out.
	bodyCopies = 2
	// smallSize is how much memory a request may use without a permit.
	smallSize = 16 << 10
)

// deadlineWriter is the [http.ResponseWriter] of all handlers. It writes the answer in parts,
// each with a deadline. It also reads the body, checks again during a stream that the caller is
// still authorized, and holds the request's permit.
type deadlineWriter struct {
	http.ResponseWriter
	control     *http.ResponseController
	body        io.ReadCloser
	partTimeout time.Duration // for each part
	deadline    time.Time     // for the whole answer; zero for a stream
	bodies      *limiter      // limits the memory for request bodies
	permit      permit        // memory or a slot that the request holds
	partRead    int           // bytes of the current part of the body that were read
	abandoned   bool          // the answer was broken off

	authorized func() error // rechecked during a stream; nil if it is not
	checkedAt  time.Time    // when authorized was last called
}

func newDeadlineWriter(w http.ResponseWriter, r *http.Request, bodies *limiter) *deadlineWriter {
	d := &deadlineWriter{
		ResponseWriter: w, control: http.NewResponseController(w), body: r.Body,
		partTimeout: partTimeout, deadline: time.Now().Add(answerTimeout), bodies: bodies,
	}
	if r.ContentLength != 0 {
		d.partTimeout += bodyTimeout // the server reads the rest of the body before it sends the answer
	}
	d.permit.abort = d.abort
	return d
}

// abort makes every read from and write to the client fail at once.
func (w *deadlineWriter) abort() {
	past := time.Unix(1, 0)
	_ = w.control.SetWriteDeadline(past) // fails only for a test's recorder
	_ = w.control.SetReadDeadline(past)
}

// deadlineWriterOf returns w as the deadlineWriter that [Server.ServeHTTP] made.
func deadlineWriterOf(w http.ResponseWriter) *deadlineWriter { return w.(*deadlineWriter) }

// Unwrap gives [http.ResponseController] access to the writer below.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// stream removes the deadline for the whole answer and sets the one for each part.
func (w *deadlineWriter) stream(within time.Duration) {
	w.partTimeout, w.deadline = within, time.Time{}
	_ = w.control.SetWriteDeadline(time.Time{}) // the server's is for a whole answer
}

// recheck has the caller's authorization checked again while a stream lasts: its token may be
// revoked.
func (w *deadlineWriter) recheck(allowed func() error) {
	w.authorized, w.checkedAt = allowed, time.Now()
}

// recheckInterval is how often the authorization is checked again. A stream ends within twice
// that time.
const recheckInterval = 5 * time.Second

// checkAuthorized returns why the caller may no longer have the answer, or nil if it may.
func (w *deadlineWriter) checkAuthorized() error {
	if w.authorized == nil || time.Since(w.checkedAt) < recheckInterval {
		return nil
	}
	w.checkedAt = time.Now()
	if err := w.authorized(); err != nil {
		return fmt.Errorf("%w: %w", errRevoked, err)
	}
	return nil
}

// errRevoked ends a stream whose caller is no longer authorized.
var errRevoked = errors.New("authorization revoked")

// Write writes a part of the answer, or several.
func (w *deadlineWriter) Write(b []byte) (n int, err error) {
	if err := w.checkAuthorized(); err != nil {
		return 0, err
	}
	for len(b) > 0 || n == 0 {
		part := b[:min(len(b), partSize)]
		if err := w.permit.startWait(w.setWriteDeadline); err != nil {
			return n, err
		}
		sent, err := w.ResponseWriter.Write(part)
		n += sent
		if err != nil {
			return n, err
		}
		w.permit.endWait()
		if b = b[sent:]; len(b) == 0 {
			break
		}
	}
	return n, nil
}

// flush sends the client what was written.
func (w *deadlineWriter) flush() error {
	if err := w.permit.startWait(w.setWriteDeadline); err != nil {
		return err
	}
	defer w.permit.endWait()
	return w.control.Flush()
}

// setWriteDeadline sets the deadline for the next part of the answer.
func (w *deadlineWriter) setWriteDeadline() {
	end := time.Now().Add(w.partTimeout)
	if !w.deadline.IsZero() && w.deadline.Before(end) {
		end = w.deadline
	}
	_ = w.control.SetWriteDeadline(end) // fails only for a test's recorder
}

// finish sets the deadline for what is still buffered when the handler is done, and releases
// the permit.
func (w *deadlineWriter) finish() {
	if !w.abandoned {
		_ = w.permit.startWait(w.setWriteDeadline)
	}
	w.permit.release()
}

// errAbandoned is returned by handlers whose answer had begun and could not be completed.
var errAbandoned = errors.New("client did not read its answer")

// abandoned returns errAbandoned for an error of writing an answer, and nil for nil.
func abandoned(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errAbandoned, err)
}

// abandon closes the connection without completing the answer, so that the client cannot take
// it for whole.
func (w *deadlineWriter) abandon() {
	w.abandoned = true
	w.abort()
}

// reserve acquires a permit for memory that the request uses until it ends. A request has at
// most one permit, and needs none for a small size.
func (w *deadlineWriter) reserve(ctx context.Context, in *limiter, size int64) error {
	if w.permit.limiter != nil || size <= smallSize {
		return nil
	}
	return in.acquire(ctx, &w.permit, size)
}

// readAll reads a body of at most limit bytes. It reserves memory once the body turns out to
// need it.
func (w *deadlineWriter) readAll(r *http.Request, limit int64) ([]byte, error) {
	from := http.MaxBytesReader(w.ResponseWriter, r.Body, limit)
	most := limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	all := make([]byte, 0, min(most+1, smallSize)) // one byte more than the body, to see its end
	for {
		if len(all) == cap(all) {
			if err := w.reserve(r.Context(), w.bodies, bodyCopies*most); err != nil {
				return nil, err
			}
			all = slices.Grow(all, int(min(int64(len(all)), most+1-int64(len(all)))))
		}
		n, err := w.readPart(from, all[len(all):cap(all)], func() {})
		all = all[:len(all)+n]
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
	}
}

// readPart calls prepare and reads some of the body. While it waits for the client the permit
// counts as stalled.
func (w *deadlineWriter) readPart(from io.Reader, into []byte, prepare func()) (int, error) {
	if err := w.permit.startWait(prepare); err != nil {
		return 0, err
	}
	n, err := from.Read(into)
	if w.partRead += n; w.partRead >= partSize || err != nil {
		w.partRead = 0
		if !w.permit.endWait() {
			return 0, errEvicted
		}
	}
	return n, err
}

// deadlineBody is a request body with a deadline for each read and none for the whole.
type deadlineBody struct{ *deadlineWriter }

// Read reads a part of the body. After the end of the body the read deadline is removed, so
// that the server notices while the answer is prepared that the client has gone.
func (b deadlineBody) Read(part []byte) (int, error) {
	n, err := b.readPart(b.body, part, func() {
		_ = b.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails only for a test's recorder
	})
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close closes the body.
func (b deadlineBody) Close() error { return b.body.Close() }
