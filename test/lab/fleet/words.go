package fleet

import (
	"encoding/json"
	"fmt"
	"time"
)

// entry is a line of a node's log.
type entry struct {
	Time    time.Time `json:"ts"`
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	rest    []byte
}

// UnmarshalJSON keeps the whole line, for the fields that only some messages have.
func (e *entry) UnmarshalJSON(line []byte) error {
	type plain entry
	if err := json.Unmarshal(line, (*plain)(e)); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	e.rest = append([]byte(nil), line...)
	return nil
}
