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
	// partSize is what a client is given at a time, each part in its own time: who does
	// not take that much is as good as gone.
	partSize = 32 << 10
	// bodyCopies is how often a body is in memory while the request is carried out.
	bodyCopies = 2
	// smallSize is what a request may keep in memory without asking for room.
	smallSize = 16 << 10
)

// deadlineWriter is a request's client: what is written to it goes in parts, and each part of
// the answer and of the body has its time. It is the [http.ResponseWriter] of all
// handlers.
type deadlineWriter struct {
	http.ResponseWriter
	control     *http.ResponseController
	body        io.ReadCloser
	partTimeout time.Duration // for each part
	deadline    time.Time     // for the whole answer; zero for a stream
	bodies      *limiter      // for those that are kept
	permit      permit        // what the request has of a room
	partRead    int           // how much of a part of the body has come
	abandoned   bool          // there will be no end of the answer

	authorized func() error // whether the caller may still have the answer; nil where that is not asked again
	checkedAt  time.Time    // when that was asked last
}

func newDeadlineWriter(w http.ResponseWriter, r *http.Request, bodies *limiter) *deadlineWriter {
	d := &deadlineWriter{
		ResponseWriter: w, control: http.NewResponseController(w), body: r.Body,
		partTimeout: partTimeout, deadline: time.Now().Add(answerTimeout), bodies: bodies,
	}
	if r.ContentLength != 0 {
		d.partTimeout += bodyTimeout // the server reads what a handler has left of it before it sends the answer
	}
	d.permit.abort = d.abort
	return d
}

// abort has whatever waits for the client fail at once.
func (w *deadlineWriter) abort() {
	past := time.Unix(1, 0)
	_ = w.control.SetWriteDeadline(past) // only a recorder in a test has none
	_ = w.control.SetReadDeadline(past)
}

// deadlineWriterOf is the client behind w, which has come through [Server.ServeHTTP].
func deadlineWriterOf(w http.ResponseWriter) *deadlineWriter { return w.(*deadlineWriter) }

// Unwrap lets [http.ResponseController] through.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// stream has the answer, and the body, last for as long as the client keeps its pace.
func (w *deadlineWriter) stream(within time.Duration) {
	w.partTimeout, w.deadline = within, time.Time{}
	_ = w.control.SetWriteDeadline(time.Time{}) // that of the server is for the whole of an answer
}

// recheck has it asked again and again, while a stream lasts, whether its caller may have
// it: a token can be taken away meanwhile.
func (w *deadlineWriter) recheck(allowed func() error) {
	w.authorized, w.checkedAt = allowed, time.Now()
}

// recheckInterval is how often that is asked. A stream ends within twice that time.
const recheckInterval = 5 * time.Second

// checkAuthorized tells why the caller may no longer have the answer; nil if he may.
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

// errRevoked ends a stream whose caller was allowed to have it and is no more.
var errRevoked = errors.New("taken away")

// Write writes some of the answer.
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

// flush has the client get what was written.
func (w *deadlineWriter) flush() error {
	if err := w.permit.startWait(w.setWriteDeadline); err != nil {
		return err
	}
	defer w.permit.endWait()
	return w.control.Flush()
}

// setWriteDeadline gives the client its time for one part of the answer.
func (w *deadlineWriter) setWriteDeadline() {
	end := time.Now().Add(w.partTimeout)
	if !w.deadline.IsZero() && w.deadline.Before(end) {
		end = w.deadline
	}
	_ = w.control.SetWriteDeadline(end) // only a recorder in a test has none
}

// finish gives the client its time for what is still to be sent when its handler is done.
func (w *deadlineWriter) finish() {
	if !w.abandoned {
		_ = w.permit.startWait(w.setWriteDeadline)
	}
	w.permit.release()
}

// errAbandoned is why an answer that has begun does not come to its end.
var errAbandoned = errors.New("client did not take its answer")

// abandoned is what an answer ends with that was written with that error, or none.
func abandoned(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errAbandoned, err)
}

// abandon closes the connection without an end of the answer, so that nobody can think
// that it is whole.
func (w *deadlineWriter) abandon() {
	w.abandoned = true
	w.abort()
}

// keep asks for room for what is kept in memory for the client from here on, until the
// request ends. A request has room once.
func (w *deadlineWriter) reserve(ctx context.Context, in *limiter, size int64) error {
	if w.permit.limiter != nil || size <= smallSize {
		return nil
	}
	return in.acquire(ctx, &w.permit, size)
}

// readAll reads a body of at most limit bytes, for which room is asked when it turns out
// to need it.
func (w *deadlineWriter) readAll(r *http.Request, limit int64) ([]byte, error) {
	from := http.MaxBytesReader(w.ResponseWriter, r.Body, limit)
	most := limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	all := make([]byte, 0, min(most+1, smallSize)) // one more than there is, to see the end
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

// readPart reads some of the body, after what prepares that.
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

// deadlineBody is a request's body that may take longer as a whole than any client is waited
// for: each of its reads has its time.
type deadlineBody struct{ *deadlineWriter }

// Read reads a part of the body. After its end the connection is watched for the
// client's leaving, for as long as the answer takes.
func (b deadlineBody) Read(part []byte) (int, error) {
	n, err := b.readPart(b.body, part, func() {
		_ = b.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // only a recorder in a test has none
	})
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close closes the body.
func (b deadlineBody) Close() error { return b.body.Close() }
