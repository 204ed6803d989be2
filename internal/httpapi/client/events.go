package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Event is one server-sent event.
type Event struct {
	Kind string
	// ID is that of the event, or of the last one before it that had one.
	ID   string
	Data []byte
}

// Events reads server-sent events from an answer.
type Events struct {
	from *bufio.Reader
	id   string
}

// NewEvents returns a reader of a stream's events.
func NewEvents(from io.Reader) *Events { return &Events{from: bufio.NewReader(from)} }

// maxEvent bounds one event, in bytes. What one revision can hold, in base64, is far less.
const maxEvent = 64 << 20

// line reads a line of at most so many bytes.
func (e *Events) line(most int) ([]byte, error) {
	var line []byte
	for {
		part, err := e.from.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return nil, fmt.Errorf("an event is longer than %d bytes", maxEvent)
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// Next returns the next event. The error is an [ErrLost]: whatever ends a stream, more
// was to come.
func (e *Events) Next() (Event, error) {
	ev := Event{Kind: "message"}
	for {
		line, err := e.line(maxEvent - len(ev.Data))
		if err != nil {
			return Event{}, fmt.Errorf("%w: the stream of events ended: %w", ErrLost, err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if ev.Data == nil {
				ev = Event{Kind: "message"} // nothing was said
				continue
			}
			ev.ID = e.id
			return ev, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			ev.Kind = string(value)
		case "id":
			e.id = string(value)
		case "data":
			if ev.Data != nil {
				ev.Data = append(ev.Data, '\n')
			}
			ev.Data = append(ev.Data, value...)
			if ev.Data == nil {
				ev.Data = []byte{} // there, and empty
			}
		}
	}
}
