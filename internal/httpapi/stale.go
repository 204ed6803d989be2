// This file refuses writes that their callers have given up, so that such a write does not
// replace what was written since. A process that was stopped, or whose machine was suspended,
// finds requests on waking and cannot tell by itself how old they are.

package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

const (
	// minStale is how long a request must have waited before the process woke to count as
	// stale. It is more than the resolution of the kernel's clock.
	minStale = 50 * time.Millisecond
	// wakeTime is how long a process takes after waking to read the requests that were waiting.
	// It is used where the kernel does not tell when a request came.
	wakeTime = 500 * time.Millisecond
)

// StandstillDetector reports the moment at which the process was last found to have been suspended, and
// the zero moment if it never was.
type StandstillDetector interface{ Found() clock.Moment }

// arrival is when a request came and until when its caller waits.
type arrival struct {
	at       clock.Moment // when it was read
	deadline time.Time    // zero if it is not known
}

type (
	arrivalKey    struct{}
	connectionKey struct{}
)

// withArrival records the arrival of a request for checkStale.
func withArrival(r *http.Request) *http.Request {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r
	}
	deadline, _ := requestDeadline(r) // checkHeaders has accepted it
	return r.WithContext(context.WithValue(r.Context(), arrivalKey{}, arrival{clock.Now(), deadline}))
}

// checkStale returns nil if a request that changes something may begin, and otherwise why not.
// It is called last: when the body is complete, and before anything is sent.
func (s *Server) checkStale(r *http.Request) error {
	a, _ := r.Context().Value(arrivalKey{}).(arrival)
	c, _ := r.Context().Value(connectionKey{}).(net.Conn)
	switch late := time.Since(a.deadline); {
	case r.Context().Err() != nil, peerClosed(c):
		return fmt.Errorf("%w: its caller has hung up", wire.ErrNotBegun)
	case !a.deadline.IsZero() && late > 0:
		return fmt.Errorf("%w: its %s passed %s ago by this node's clock; if the caller did not wait that long the clocks differ", wire.ErrNotBegun, wire.HeaderDeadline, late.Round(time.Millisecond))
	case s.cfg.Standstill == nil || a.at.IsZero():
		return nil
	}
	woke := s.cfg.Standstill.Found()
	age := a.at.Age()
	if ago, known := sinceReceived(c); known {
		age = max(age, ago)
	} else {
		age += wakeTime
	}
	if !woke.IsZero() && woke.Age()+minStale < age {
		return fmt.Errorf("%w: this node was suspended while the request waited", wire.ErrNotBegun)
	}
	return nil
}

// withConnection makes a request's connection available to checkStale.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// socket returns the socket below TLS and other wrappers, or nil if there is none.
func socket(c net.Conn) syscall.Conn {
	for {
		if s, ok := c.(syscall.Conn); ok {
			return s
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = over.NetConn()
	}
}
