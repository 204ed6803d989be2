// This file writes large JSON objects with little memory.

package httpapi

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/coordinator-ha/coordinator/rebind"
)

// objectWriter writes JSON objects, each with a payload of any length, with little memory. It
// keeps the first error of the writer, and flush returns it.
type objectWriter struct {
	to   *bufio.Writer
	text bytes.Buffer // the current object without its payload
	enc  *json.Encoder
}

// newObjectWriter returns an objectWriter that writes to w.
func newObjectWriter(w io.Writer) *objectWriter {
	o := &objectWriter{to: bufio.NewWriterSize(w, smallSize)}
	o.enc = json.NewEncoder(&o.text)
	o.enc.SetEscapeHTML(false) // payloads are sent as they are; escaped they could be six times as large
	return o
}

// print writes text as it is.
func (o *objectWriter) print(format string, args ...any) { _, _ = fmt.Fprintf(o.to, format, args...) }

// object writes v with the payload of m as its last field, or without one if m is nil. v has to
// encode to a JSON object that is not empty.
func (o *objectWriter) object(v any, m *rebind.Memento) {
	o.text.Reset()
	encode(o.enc, v)
	text := bytes.TrimSuffix(o.text.Bytes(), []byte("\n"))
	if m == nil {
		_, _ = o.to.Write(text)
		return
	}
	_, _ = o.to.Write(bytes.TrimSuffix(text, []byte("}")))
	o.payload(m)
	_, _ = o.to.WriteString("}")
}

// payload writes a payload as a field: unchanged if it is valid JSON and its media type says
// so, and in base64 otherwise.
func (o *objectWriter) payload(m *rebind.Memento) {
	if isJSON(m.ContentType) && utf8.Valid(m.Payload) && json.Valid(m.Payload) {
		o.print(`,"data":`)
		o.compact(m.Payload)
		return
	}
	o.print(`,"data_base64":"`)
	encoded := base64.NewEncoder(base64.StdEncoding, o.to)
	_, _ = encoded.Write(m.Payload)
	_ = encoded.Close()
	o.print(`"`)
}

// compact writes JSON without the white space between tokens.
func (o *objectWriter) compact(text []byte) {
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			_, _ = o.to.Write(text[begin:i])
			begin = i + 1
		}
	}
	_, _ = o.to.Write(text[begin:])
}

// flush writes what is buffered and returns the first error.
func (o *objectWriter) flush() error { return o.to.Flush() }
