// This file limits what requests use together: memory, or the number of streams. A slow client
// is evicted when others wait.

package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// limiter limits what all requests of a kind use together: bytes of memory, or slots. A request
// that finds it full waits a little. A client that makes the node wait, because it does not
// take its answer or does not send its body, is evicted when another request needs its share.
type limiter struct {
	kind       string
	capacity   int64
	wait       time.Duration // how long a request waits for a permit
	stallLimit time.Duration // how long a client may stall before others may evict it

	mu      sync.Mutex // guards the fields below, and those of the permits
	used    int64
	permits map[*permit]struct{}
	freed   chan struct{} // closed when a permit is released
}

// permit is the share of a limiter that one request holds. The zero value holds nothing.
type permit struct {
	limiter      *limiter
	size         int64
	stalledSince time.Time   // when the node began to wait for the client; zero while it does not
	evicted      bool        // another request needs its share
	abort        func()      // makes the wait for the client fail at once
	timer        *time.Timer // set by evictWhen; nil otherwise
}

// errEvicted is returned to a client that was too slow while others waited.
var errEvicted = fmt.Errorf("%w: the client was slow and others were waiting", wire.ErrBusy)

func newLimiter(kind string, capacity int64, wait, stallLimit time.Duration) *limiter {
	return &limiter{kind: kind, capacity: capacity, wait: wait, stallLimit: stallLimit, permits: make(map[*permit]struct{}), freed: make(chan struct{})}
}

// stallCheckInterval is how often a waiting request looks for clients that have stalled too
// long.
const stallCheckInterval = 100 * time.Millisecond

// acquire waits for a permit for p, which has to be released. A size above half of the capacity
// counts as half. The error is an [wire.ErrBusy] if there is none in time.
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
			return fmt.Errorf("%w: this node is serving as many %s as it can", wire.ErrBusy, l.kind)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryAcquire acquires the permit if there is room, and otherwise evicts the client that has
// stalled longest, if one has stalled too long. The returned channel is closed when a permit is
// released.
func (l *limiter) tryAcquire(p *permit, size int64) (freed <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	capacity := l.capacity
	if size > max(l.capacity/16, 1) {
		capacity -= l.capacity / 4 // reserved for small requests
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

// evictWhen calls late at each interval until the permit is released, and evicts the request
// once late returns true.
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

// release gives the permit back.
func (p *permit) release() {
	if p.limiter == nil {
		return
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop() // if it runs anyway it finds that the permit is gone
	}
	delete(p.limiter.permits, p)
	p.limiter.used -= p.size
	close(p.limiter.freed)
	p.limiter.freed = make(chan struct{})
}

// startWait records that the node now waits for the client, after it has called prepare. It
// returns an error if the request was evicted.
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

// endWait records that the client has done its part, and returns false if the request was
// evicted meanwhile.
func (p *permit) endWait() bool {
	if p.limiter == nil {
		return true
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	p.stalledSince = time.Time{}
	return !p.evicted
}
