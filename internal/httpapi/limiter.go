package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// limiter is what requests of a kind may take together: bytes of memory, or places. Who
// finds it full waits a little. A client that has made its request wait, by not taking
// its answer or not sending its body, gives way to one that comes: so nobody keeps the
// others out by being slow.
type limiter struct {
	kind       string
	capacity   int64
	wait       time.Duration // how long a request waits for room
	stallLimit time.Duration // how long a client is waited for while others want its room

	mu      sync.Mutex // guards the fields below, and those of the holds
	used    int64
	permits map[*permit]struct{}
	freed   chan struct{} // closed when some room becomes free
}

// permit is the room that one request has. Its zero value holds nothing, in no room.
type permit struct {
	limiter      *limiter
	size         int64
	stalledSince time.Time   // when the client began to be waited for; zero while it is not
	evicted      bool        // it gave way
	abort        func()      // has the wait for the client fail at once
	timer        *time.Timer // has it give way for other reasons; nil for none
}

// errEvicted is why a client that was too slow is given up.
var errEvicted = fmt.Errorf("%w: you were slow, and others had to wait", wire.ErrBusy)

func newLimiter(kind string, capacity int64, wait, stallLimit time.Duration) *limiter {
	return &limiter{kind: kind, capacity: capacity, wait: wait, stallLimit: stallLimit, permits: make(map[*permit]struct{}), freed: make(chan struct{})}
}

// stallCheckInterval is how often whoever waits for room looks whether somebody has become slow.
const stallCheckInterval = 100 * time.Millisecond

// take waits for room for h, which is to be left in the end. What is more than half of
// the room counts as half. It returns an [wire.ErrBusy] if there is no room in time.
func (l *limiter) acquire(ctx context.Context, p *permit, size int64) error {
	over := time.NewTimer(l.wait)
	defer over.Stop()
	for {
		freed, ok := l.tryAcquire(p, min(size, max(l.capacity/2, 1)))
		if ok {
			return nil
		}
		select {
		case <-freed:
		case <-time.After(stallCheckInterval):
		case <-over.C:
			return fmt.Errorf("%w: this node has as many %s under way as it takes", wire.ErrBusy, l.kind)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryAcquire takes room if there is some, and otherwise has the slowest client give way. The
// channel is closed when there is more room than now.
func (l *limiter) tryAcquire(p *permit, size int64) (freed <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	capacity := l.capacity
	if size > max(l.capacity/16, 1) {
		capacity -= l.capacity / 4 // is for those who ask for little
	}
	if l.used+size <= capacity {
		l.used += size
		p.limiter, p.size = l, size
		l.permits[p] = struct{}{}
		return nil, true
	}
	var slowest *permit
	for other := range l.permits {
		slow := !other.evicted && !other.stalledSince.IsZero() && time.Since(other.stalledSince) >= l.stallLimit
		if slow && (slowest == nil || other.stalledSince.Before(slowest.stalledSince)) {
			slowest = other
		}
	}
	if slowest != nil {
		slowest.evicted = true
		slowest.abort()
	}
	return l.freed, false
}

// evictWhen has the request give way as soon as late says so, which is asked every so
// often until it has left.
func (p *permit) evictWhen(every time.Duration, late func() bool) {
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	p.timer = time.AfterFunc(every, func() {
		tooLate := late()
		p.limiter.mu.Lock()
		defer p.limiter.mu.Unlock()
		switch _, there := p.limiter.permits[p]; {
		case !there || p.evicted:
		case tooLate:
			p.evicted = true
			p.abort()
		default:
			p.timer.Reset(every)
		}
	})
}

// release gives the room back.
func (p *permit) release() {
	if p.limiter == nil {
		return
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop() // or it sees that there is no hold any more
	}
	delete(p.limiter.permits, p)
	p.limiter.used -= p.size
	close(p.limiter.freed)
	p.limiter.freed = make(chan struct{})
}

// startWait says that the client is waited for from now on, and prepares that: nothing is
// begun for one that has given way.
func (p *permit) startWait(prepare func()) error {
	if p.limiter == nil {
		prepare()
		return nil
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	if p.evicted {
		return errEvicted
	}
	prepare()
	if p.stalledSince.IsZero() {
		p.stalledSince = time.Now()
	}
	return nil
}

// endWait says that the client has done its part, and reports whether that was in time.
func (p *permit) endWait() bool {
	if p.limiter == nil {
		return true
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	p.stalledSince = time.Time{}
	return !p.evicted
}
