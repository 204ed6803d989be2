// This file reads server-sent events.

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
	// ID is the id of this event, or of the last event before it that had one.
	ID   string
	Data []byte
}

// Events reads server-sent events.
type Events struct {
	from *bufio.Reader
	id   string
}

// NewEvents returns a reader of a stream's events.
func NewEvents(from io.Reader) *Events { return &Events{from: bufio.NewReader(from)} }

// maxEvent limits one event, in bytes. The largest revision, in base64, is far smaller.
const maxEvent = 64 << 20

// line reads a line of at most that many bytes.
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

// Next returns the next event. The error is always an [ErrLost]: a stream has no regular end.
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
				ev = Event{Kind: "message"} // an event without data
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
				ev.Data = []byte{} // present, and empty
			}
		}
	}
}
