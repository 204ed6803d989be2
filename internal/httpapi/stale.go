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

// A write that its caller has given up must not come later, over what was written since.
// It can: a process that is stopped, or whose machine is suspended, finds on waking what
// was sent to it meanwhile, and has no way to tell how long ago that was.

const (
	// minStale is for how long a request has to have waited before the node woke for its caller
	// to have had a reason to give it up. It is more than the kernel's clock is coarse.
	minStale = 50 * time.Millisecond
	// wakeTime is how long a node that stood still takes to read what was waiting for it. It
	// counts where the kernel does not tell when a request came.
	wakeTime = 500 * time.Millisecond
)

// Standstill tells when the process was last found to have stood still; no moment if it
// never was.
type Standstill interface{ Found() clock.Moment }

// arrival is what is known of a request that changes something.
type arrival struct {
	at       clock.Moment // when it was read
	deadline time.Time    // until when its caller waits; zero if that is not known
}

type (
	arrivalKey    struct{}
	connectionKey struct{}
)

// withArrival notes when a request came, for begin.
func withArrival(r *http.Request) *http.Request {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r
	}
	deadline, _ := requestDeadline(r) // checkHeaders has let it pass
	return r.WithContext(context.WithValue(r.Context(), arrivalKey{}, arrival{clock.Now(), deadline}))
}

// checkStale returns why a request that changes something is not to be begun, or nil. It is
// asked last, when the body is here and before anything is sent.
func (s *Server) checkStale(r *http.Request) error {
	a, _ := r.Context().Value(arrivalKey{}).(arrival)
	c, _ := r.Context().Value(connectionKey{}).(net.Conn)
	switch late := time.Since(a.deadline); {
	case r.Context().Err() != nil, peerClosed(c):
		return fmt.Errorf("%w: its caller has hung up", wire.ErrNotBegun)
	case !a.deadline.IsZero() && late > 0:
		return fmt.Errorf("%w: its %s passed %s ago by this node's clock; if nobody waited that long the clocks differ", wire.ErrNotBegun, wire.HeaderDeadline, late.Round(time.Millisecond))
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
		return fmt.Errorf("%w: this node stood still while the request waited", wire.ErrNotBegun)
	}
	return nil
}

// withConnection lets begin see the connection that a request came over.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// socket is what a connection comes down to, under TLS and whatever counts it; nil if
// that is no socket.
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
