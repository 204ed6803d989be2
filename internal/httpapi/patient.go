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
	// sendBytes is what a client is given at a time, each part in its own time: who does
	// not take that much is as good as gone.
	sendBytes = 32 << 10
	// bodyTakes is how often a body is in memory while the request is carried out.
	bodyTakes = 2
	// smallBytes is what a request may keep in memory without asking for room.
	smallBytes = 16 << 10
)

// patient is a request's client: what is written to it goes in parts, and each part of
// the answer and of the body has its time. It is the [http.ResponseWriter] of all
// handlers.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	body    io.ReadCloser
	within  time.Duration // for each part
	until   time.Time     // for the whole answer; zero for a stream
	bodies  *room         // for those that are kept
	hold    hold          // what the request has of a room
	part    int           // how much of a part of the body has come
	gone    bool          // there will be no end of the answer

	allowed func() error // whether the caller may still have the answer; nil where that is not asked again
	asked   time.Time    // when that was asked last
}

func newPatient(w http.ResponseWriter, r *http.Request, bodies *room) *patient {
	p := &patient{
		ResponseWriter: w, control: http.NewResponseController(w), body: r.Body,
		within: takeWithin, until: time.Now().Add(answerWithin), bodies: bodies,
	}
	if r.ContentLength != 0 {
		p.within += bodyWithin // the server reads what a handler has left of it before it sends the answer
	}
	p.hold.cut = p.cut
	return p
}

// cut has whatever waits for the client fail at once.
func (p *patient) cut() {
	past := time.Unix(1, 0)
	_ = p.control.SetWriteDeadline(past) // only a recorder in a test has none
	_ = p.control.SetReadDeadline(past)
}

// patientOf is the client behind w, which has come through [Server.ServeHTTP].
func patientOf(w http.ResponseWriter) *patient { return w.(*patient) }

// Unwrap lets [http.ResponseController] through.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// stream has the answer, and the body, last for as long as the client keeps its pace.
func (p *patient) stream(within time.Duration) {
	p.within, p.until = within, time.Time{}
	_ = p.control.SetWriteDeadline(time.Time{}) // that of the server is for the whole of an answer
}

// askAgain has it asked again and again, while a stream lasts, whether its caller may have
// it: a token can be taken away meanwhile.
func (p *patient) askAgain(allowed func() error) { p.allowed, p.asked = allowed, time.Now() }

// askEvery is how often that is asked. A stream ends within twice that time.
const askEvery = 5 * time.Second

// still tells why the caller may no longer have the answer; nil if he may.
func (p *patient) still() error {
	if p.allowed == nil || time.Since(p.asked) < askEvery {
		return nil
	}
	p.asked = time.Now()
	if err := p.allowed(); err != nil {
		return fmt.Errorf("%w: %w", errNoLonger, err)
	}
	return nil
}

// errNoLonger ends a stream whose caller was allowed to have it and is no more.
var errNoLonger = errors.New("taken away")

// Write writes some of the answer.
func (p *patient) Write(b []byte) (n int, err error) {
	if err := p.still(); err != nil {
		return 0, err
	}
	for len(b) > 0 || n == 0 {
		part := b[:min(len(b), sendBytes)]
		if err := p.hold.await(p.expectTaking); err != nil {
			return n, err
		}
		sent, err := p.ResponseWriter.Write(part)
		n += sent
		if err != nil {
			return n, err
		}
		p.hold.came()
		if b = b[sent:]; len(b) == 0 {
			break
		}
	}
	return n, nil
}

// flush has the client get what was written.
func (p *patient) flush() error {
	if err := p.hold.await(p.expectTaking); err != nil {
		return err
	}
	defer p.hold.came()
	return p.control.Flush()
}

// expectTaking gives the client its time for one part of the answer.
func (p *patient) expectTaking() {
	end := time.Now().Add(p.within)
	if !p.until.IsZero() && p.until.Before(end) {
		end = p.until
	}
	_ = p.control.SetWriteDeadline(end) // only a recorder in a test has none
}

// end gives the client its time for what is still to be sent when its handler is done.
func (p *patient) end() {
	if !p.gone {
		_ = p.hold.await(p.expectTaking)
	}
	p.hold.leave()
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
func (p *patient) abandon() {
	p.gone = true
	p.cut()
}

// keep asks for room for what is kept in memory for the client from here on, until the
// request ends. A request has room once.
func (p *patient) keep(ctx context.Context, in *room, size int64) error {
	if p.hold.room != nil || size <= smallBytes {
		return nil
	}
	return in.take(ctx, &p.hold, size)
}

// readAll reads a body of at most limit bytes, for which room is asked when it turns out
// to need it.
func (p *patient) readAll(r *http.Request, limit int64) ([]byte, error) {
	from := http.MaxBytesReader(p.ResponseWriter, r.Body, limit)
	most := limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	all := make([]byte, 0, min(most+1, smallBytes)) // one more than there is, to see the end
	for {
		if len(all) == cap(all) {
			if err := p.keep(r.Context(), p.bodies, bodyTakes*most); err != nil {
				return nil, err
			}
			all = slices.Grow(all, int(min(int64(len(all)), most+1-int64(len(all)))))
		}
		n, err := p.receive(from, all[len(all):cap(all)], func() {})
		all = all[:len(all)+n]
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
	}
}

// receive reads some of the body, after what prepares that.
func (p *patient) receive(from io.Reader, into []byte, prepare func()) (int, error) {
	if err := p.hold.await(prepare); err != nil {
		return 0, err
	}
	n, err := from.Read(into)
	if p.part += n; p.part >= sendBytes || err != nil {
		p.part = 0
		if !p.hold.came() {
			return 0, errGaveWay
		}
	}
	return n, err
}

// slowBody is a request's body that may take longer as a whole than any client is waited
// for: each of its reads has its time.
type slowBody struct{ *patient }

// Read reads a part of the body. After its end the connection is watched for the
// client's leaving, for as long as the answer takes.
func (b slowBody) Read(part []byte) (int, error) {
	n, err := b.receive(b.body, part, func() {
		_ = b.control.SetReadDeadline(time.Now().Add(bodyWithin)) // only a recorder in a test has none
	})
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close closes the body.
func (b slowBody) Close() error { return b.body.Close() }
