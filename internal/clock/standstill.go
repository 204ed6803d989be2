package clock

import (
	"sync"
	"time"
)

const (
	// stoodStill is for how long a process has to do nothing at all to have stood still:
	// longer than a busy machine keeps one waiting.
	stoodStill = time.Second
	// lookEvery is how often that is looked at.
	lookEvery = stoodStill / 4
)

// Standstill notices that the process stood still for longer than a second: that it was
// stopped, or its machine suspended. Make one with [NewStandstill].
type Standstill struct {
	mu    sync.Mutex // guards the fields below
	moved Moment     // when it last was seen to move
	found Moment     // when it was last found to have stood still
}

// NewStandstill begins to look.
func NewStandstill() *Standstill { return &Standstill{moved: Now()} }

// Watch looks until ended is closed. It blocks.
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

// Found returns when the process was last found to have stood still, or no moment. Who asks
// first on waking finds it, whether or not Watch has come round.
func (s *Standstill) Found() Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved.Age() > stoodStill {
		s.found = Now()
	}
	s.moved = Now()
	return s.found
}
