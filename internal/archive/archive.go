// Package archive reads and writes all mementos of a plane as one stream. The format can be
// written without knowing its length in advance, and a reader notices if any part is
// missing or changed:
//
//	coordinator-archive/1 {"plane":"p","plane_id":"…","revision":7}
//	{"name":"entity/x","parent":"entity/w","content_type":"text/plain","schema":2,"size":5}
//	hello
//	…
//	end {"count":1,"bytes":5,"sha256":"…"}
//
// Every entry is a line of JSON, a payload of the size given there, and a line feed. The
// digest covers everything before the last line. Mementos are ordered by name, without
// duplicates. Do not change the format, since users keep archives: add another one and keep
// reading this.
package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	format = "coordinator-archive/1 "
	ending = "end "
	// maxLine bounds a line other than a payload: it leaves ample room for names and a
	// media type.
	maxLine = 64 << 10
)

// ErrBroken is returned for a stream that is not an archive or not a complete one. It never
// wraps io.EOF, which marks the end of a complete archive.
var ErrBroken = errors.New("archive is broken")

// Header describes the origin of an archive.
type Header struct {
	Plane   string `json:"plane"`
	PlaneID string `json:"plane_id"`
	// Revision is the store's revision that the archive shows.
	Revision rebind.Revision `json:"revision"`
}

// Summary is the end of an archive.
type Summary struct {
	Count  int64  `json:"count"`
	Bytes  int64  `json:"bytes"` // of all payloads
	SHA256 string `json:"sha256"`
}

type mementoLine struct {
	Name        rebind.Name `json:"name"`
	Parent      rebind.Name `json:"parent,omitempty"`
	ContentType string      `json:"content_type,omitempty"`
	Schema      int64       `json:"schema,omitempty"`
	Size        int         `json:"size"`
}

// Writer writes one archive.
type Writer struct {
	to     *bufio.Writer
	digest hash.Hash
	sum    Summary
}

// NewWriter begins an archive.
func NewWriter(to io.Writer, h Header) (*Writer, error) {
	w := &Writer{digest: sha256.New()}
	w.to = bufio.NewWriterSize(io.MultiWriter(to, w.digest), 256<<10)
	return w, w.line(format, h)
}

func (w *Writer) line(prefix string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode archive: %w", err)
	}
	_, _ = w.to.WriteString(prefix) // a bufio.Writer keeps its error
	_, _ = w.to.Write(text)
	return w.to.WriteByte('\n')
}

// Add writes one memento. Mementos must be added in the order of their names.
func (w *Writer) Add(name rebind.Name, c *rebind.Content) error {
	err := w.line("", mementoLine{Name: name, Parent: c.Parent, ContentType: c.ContentType, Schema: c.Schema, Size: len(c.Payload)})
	if err != nil {
		return err
	}
	w.sum.Count++
	w.sum.Bytes += int64(len(c.Payload))
	_, _ = w.to.Write(c.Payload)
	return w.to.WriteByte('\n')
}

// Close ends the archive; without it the archive is broken.
func (w *Writer) Close() (Summary, error) {
	if err := w.to.Flush(); err != nil {
		return Summary{}, err
	}
	w.sum.SHA256 = hex.EncodeToString(w.digest.Sum(nil))
	if err := w.line(ending, w.sum); err != nil {
		return Summary{}, err
	}
	return w.sum, w.to.Flush()
}

// Reader reads one archive.
type Reader struct {
	from       *bufio.Reader
	digest     hash.Hash
	header     Header
	sum        Summary // of what was read so far
	last       rebind.Name
	maxPayload int
	done       bool
}

// NewReader begins to read an archive whose payloads have at most maxPayload bytes.
func NewReader(from io.Reader, maxPayload int) (*Reader, error) {
	r := &Reader{from: bufio.NewReaderSize(from, 256<<10), digest: sha256.New(), maxPayload: maxPayload}
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(line, format)
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrBroken, strings.TrimSpace(format))
	}
	r.note(line)
	return r, decode(text, &r.header)
}

// Header returns the header of the archive.
func (r *Reader) Header() Header { return r.header }

// Summary describes what was read so far; it equals the archive's own summary once Next has
// returned io.EOF.
func (r *Reader) Summary() Summary { return r.sum }

// Next returns the next memento. It returns [io.EOF] at the end of an archive with the
// right digest, and an [ErrBroken] otherwise.
func (r *Reader) Next() (rebind.Name, *rebind.Content, error) {
	if r.done {
		return "", nil, io.EOF
	}
	line, err := r.line()
	if err != nil {
		return "", nil, err
	}
	if text, ok := strings.CutPrefix(line, ending); ok {
		return "", nil, r.end(text)
	}
	var e mementoLine
	if err := decode(line, &e); err != nil {
		return "", nil, err
	}
	if err := r.check(&e); err != nil {
		return "", nil, err
	}
	payload := make([]byte, e.Size+1)
	if _, err := io.ReadFull(r.from, payload); err != nil {
		return "", nil, fmt.Errorf("%w: it ends within %s: %v", ErrBroken, e.Name, err)
	}
	if payload[e.Size] != '\n' {
		return "", nil, fmt.Errorf("%w: %s is longer than it says", ErrBroken, e.Name)
	}
	r.note(line)
	r.digest.Write(payload)
	r.sum.Count++
	r.sum.Bytes += int64(e.Size)
	r.last = e.Name
	return e.Name, &rebind.Content{
		Parent: e.Parent, ContentType: e.ContentType, Schema: e.Schema, Payload: payload[:e.Size:e.Size],
	}, nil
}

func (r *Reader) check(e *mementoLine) error {
	switch err := e.Name.Check(); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	case e.Name <= r.last:
		return fmt.Errorf("%w: %s follows %s", ErrBroken, e.Name, r.last)
	case e.Size < 0 || e.Size > r.maxPayload:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrBroken, e.Name, e.Size, r.maxPayload)
	default:
		return nil
	}
}

// end compares what was read with the archive's own summary.
func (r *Reader) end(text string) error {
	var told Summary
	if err := decode(text, &told); err != nil {
		return err
	}
	r.sum.SHA256 = hex.EncodeToString(r.digest.Sum(nil))
	if told != r.sum {
		return fmt.Errorf("%w: its digest does not match its content", ErrBroken)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrBroken)
	}
	r.done = true
	return io.EOF
}

// line reads a line of bounded length, without its line feed.
func (r *Reader) line() (string, error) {
	var text []byte
	for {
		part, err := r.from.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			return string(text[:len(text)-1]), nil
		case len(text) > maxLine:
			return "", fmt.Errorf("%w: a line is longer than %d bytes", ErrBroken, maxLine)
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", fmt.Errorf("%w: it is truncated: %v", ErrBroken, err)
		}
	}
}

func (r *Reader) note(line string) {
	_, _ = io.WriteString(r.digest, line)
	_, _ = r.digest.Write([]byte{'\n'})
}

func decode(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %.80q: %v", ErrBroken, text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %.80q is more than one value", ErrBroken, text)
	}
	return nil
}
