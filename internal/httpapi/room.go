package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// room is what requests of a kind may take together: bytes of memory, or places. Who
// finds it full waits a little. A client that has made its request wait, by not taking
// its answer or not sending its body, gives way to one that comes: so nobody keeps the
// others out by being slow.
type room struct {
	kind    string
	most    int64
	wait    time.Duration // how long a request waits for room
	patient time.Duration // how long a client is waited for while others want its room

	mu    sync.Mutex // guards the fields below, and those of the holds
	taken int64
	holds map[*hold]struct{}
	moved chan struct{} // closed when some room becomes free
}

// hold is the room that one request has. Its zero value holds nothing, in no room.
type hold struct {
	room  *room
	size  int64
	since time.Time   // when the client began to be waited for; zero while it is not
	ended bool        // it gave way
	cut   func()      // has the wait for the client fail at once
	watch *time.Timer // has it give way for other reasons; nil for none
}

// errGaveWay is why a client that was too slow is given up.
var errGaveWay = fmt.Errorf("%w: you were slow, and others had to wait", wire.ErrBusy)

func newRoom(kind string, most int64, wait, patient time.Duration) *room {
	return &room{kind: kind, most: most, wait: wait, patient: patient, holds: make(map[*hold]struct{}), moved: make(chan struct{})}
}

// lookAgain is how often whoever waits for room looks whether somebody has become slow.
const lookAgain = 100 * time.Millisecond

// take waits for room for h, which is to be left in the end. What is more than half of
// the room counts as half. It returns an [wire.ErrBusy] if there is no room in time.
func (r *room) take(ctx context.Context, h *hold, size int64) error {
	over := time.NewTimer(r.wait)
	defer over.Stop()
	for {
		moved, ok := r.try(h, min(size, max(r.most/2, 1)))
		if ok {
			return nil
		}
		select {
		case <-moved:
		case <-time.After(lookAgain):
		case <-over.C:
			return fmt.Errorf("%w: this node has as many %s under way as it takes", wire.ErrBusy, r.kind)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try takes room if there is some, and otherwise has the slowest client give way. The
// channel is closed when there is more room than now.
func (r *room) try(h *hold, size int64) (moved <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.most
	if size > max(r.most/16, 1) {
		most -= r.most / 4 // is for those who ask for little
	}
	if r.taken+size <= most {
		r.taken += size
		h.room, h.size = r, size
		r.holds[h] = struct{}{}
		return nil, true
	}
	var slowest *hold
	for other := range r.holds {
		slow := !other.ended && !other.since.IsZero() && time.Since(other.since) >= r.patient
		if slow && (slowest == nil || other.since.Before(slowest.since)) {
			slowest = other
		}
	}
	if slowest != nil {
		slowest.ended = true
		slowest.cut()
	}
	return r.moved, false
}

// lookEvery has the request give way as soon as late says so, which is asked every so
// often until it has left.
func (h *hold) lookEvery(every time.Duration, late func() bool) {
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	h.watch = time.AfterFunc(every, func() {
		tooLate := late()
		h.room.mu.Lock()
		defer h.room.mu.Unlock()
		switch _, there := h.room.holds[h]; {
		case !there || h.ended:
		case tooLate:
			h.ended = true
			h.cut()
		default:
			h.watch.Reset(every)
		}
	})
}

// leave gives the room back.
func (h *hold) leave() {
	if h.room == nil {
		return
	}
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	if h.watch != nil {
		h.watch.Stop() // or it sees that there is no hold any more
	}
	delete(h.room.holds, h)
	h.room.taken -= h.size
	close(h.room.moved)
	h.room.moved = make(chan struct{})
}

// await says that the client is waited for from now on, and prepares that: nothing is
// begun for one that has given way.
func (h *hold) await(prepare func()) error {
	if h.room == nil {
		prepare()
		return nil
	}
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	if h.ended {
		return errGaveWay
	}
	prepare()
	if h.since.IsZero() {
		h.since = time.Now()
	}
	return nil
}

// came says that the client has done its part, and reports whether that was in time.
func (h *hold) came() bool {
	if h.room == nil {
		return true
	}
	h.room.mu.Lock()
	defer h.room.mu.Unlock()
	h.since = time.Time{}
	return !h.ended
}
