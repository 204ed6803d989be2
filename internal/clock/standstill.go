// Notices that the process stood still.

package clock

import (
	"sync"
	"time"
)

const (
	// stoodStill is how long a process must make no progress to count as having stood
	// still: longer than a busy machine delays it.
	stoodStill = time.Second
	// lookEvery is how often that is checked.
	lookEvery = stoodStill / 4
)

// Standstill notices that the process stood still for more than a second: it was stopped,
// or its machine suspended. Create one with [NewStandstill].
type Standstill struct {
	mu    sync.Mutex // guards the fields below
	moved Moment     // when it was last seen to make progress
	found Moment     // when it was last found to have stood still
}

// NewStandstill returns a Standstill that watches from now on.
func NewStandstill() *Standstill { return &Standstill{moved: Now()} }

// Watch checks for standstills until ended is closed. It blocks.
func (s *Standstill) Watch(ended <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Found()
		case <-ended:
			return
		}
	}
}

// Found returns when the process was last found to have stood still, or the zero Moment. It
// also finds a standstill that has just ended, even if Watch has not run since.
func (s *Standstill) Found() Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved.Age() > stoodStill {
		s.found = Now()
	}
	s.moved = Now()
	return s.found
}
