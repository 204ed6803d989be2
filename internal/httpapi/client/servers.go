// This file tries one server after the other.

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coordinator-ha/coordinator/internal/hostport"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

const (
	// attemptTimeout is how long one of several servers may take to answer a read, or to accept
	// a connection for a write, before the next one is tried.
	attemptTimeout = 5 * time.Second
	// roundInterval is the time between two rounds through all servers.
	roundInterval = 200 * time.Millisecond
)

// ParseServers parses a list of nodes: URLs such as https://host:port, separated by commas. An
// item without a scheme, host:port, means http://.
func ParseServers(list string) ([]*url.URL, error) {
	var servers []*url.URL
	for item := range strings.SplitSeq(list, ",") {
		server, err := parseServer(item)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

func parseServer(item string) (*url.URL, error) {
	const how = "server %q: write it as http://host:port, https://host:port or host:port, several with commas and no spaces between"
	text := item
	if !strings.Contains(item, "://") {
		if _, _, err := net.SplitHostPort(item); err != nil {
			return nil, fmt.Errorf(how, item)
		}
		text = "http://" + item
	}
	u, err := hostport.URL(text, "http", "https")
	switch {
	case strings.ContainsAny(item, " ,\t\"'"):
		return nil, fmt.Errorf(how, item)
	case err != nil:
		return nil, fmt.Errorf("server %q: %w", item, err)
	default:
		return u, nil
	}
}

// Open is Do for an answer that may be long: its body is still to be read.
//
// With several servers it first tries the one that answered last, then the others, in rounds
// until ctx ends. It goes on while the request was not sent, was answered by 503, which means
// that it was not applied, or changes nothing. A single server is tried once. A write that is
// in flight when ctx ends has an unknown outcome, so no new attempt begins when too little time
// is left for one.
func (c *Client) Open(ctx context.Context, r Request) (*Stream, error) {
	upload := &readTracker{from: r.Upload}
	if r.Upload != nil {
		r.Upload = upload
	}
	errs := make([]error, len(c.servers))
	var longest time.Duration
	for {
		first := int(c.last.Load())
		for i := range c.servers {
			n := (first + i) % len(c.servers)
			if errs[n] != nil && r.isWrite() && timeLeft(ctx) < 2*longest {
				return nil, summary(errs)
			}
			began := time.Now()
			stream, err := c.try(ctx, c.servers[n], &r)
			longest = max(longest, time.Since(began))
			if err == nil {
				c.last.Store(int64(n))
				return stream, nil
			}
			if upload.started.Load() || !retryable(&r, err) {
				return nil, err
			}
			if ctx.Err() == nil || errs[n] == nil { // that the time is over does not explain anything
				errs[n] = err
			}
		}
		if len(c.servers) == 1 || !slices.ContainsFunc(errs, transient) {
			return nil, summary(errs)
		}
		select {
		case <-time.After(roundInterval):
		case <-ctx.Done():
			return nil, summary(errs)
		}
	}
}

// timeLeft returns how much time ctx has left.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64
	}
	return time.Until(deadline)
}

// retryable reports whether a failed request may be sent to another server.
func retryable(r *Request, err error) bool {
	var p *wire.Problem
	switch {
	case errors.As(err, &p):
		return p.Status == http.StatusServiceUnavailable && !r.Probe
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrTrust):
		return true // it was not sent, or not read
	case errors.Is(err, ErrLost), errors.Is(err, ErrNotNode):
		return !r.isWrite()
	default:
		return false
	}
}

// transient reports whether the failure may go away by itself.
func transient(err error) bool { return !errors.Is(err, ErrTrust) && !errors.Is(err, ErrNotNode) }

// summary returns the error if no server has answered. Answers of nodes come before failures to
// get one.
func summary(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil }) // not tried
	slices.SortStableFunc(errs, func(a, b error) int { return rank(a) - rank(b) })
	return errors.Join(errs...)
}

// rank orders errors: problems from nodes first, failures of trust last.
func rank(err error) int {
	switch {
	case errors.As(err, new(*wire.Problem)):
		return 0
	case errors.Is(err, ErrTrust):
		return 2
	default:
		return 1
	}
}

// errSlow ends an attempt if there are other servers.
var errSlow = errors.New("it takes too long, and there are other servers")

// try sends the request to one server.
func (c *Client) try(ctx context.Context, server *url.URL, r *Request) (*Stream, error) {
	t := &attempt{client: c, server: server, request: r}
	ctx, cancel := context.WithCancelCause(ctx)
	limit := time.AfterFunc(c.attemptLimit(ctx), func() {
		if len(c.servers) > 1 && !(t.sent.Load() && (r.isWrite() || r.ReadOnly)) {
			cancel(errSlow)
		}
	})
	stream, err := t.open(ctx)
	limit.Stop()
	if err != nil {
		cancel(nil)
		if len(c.servers) > 1 && errors.As(err, new(*wire.Problem)) {
			err = fmt.Errorf("%s: %w", server, err)
		}
		return nil, err
	}
	stream.Body = &cancelBody{stream.Body, func() { cancel(nil) }}
	return stream, nil
}

// attemptLimit returns how long one server may take, so that each has its turn.
func (c *Client) attemptLimit(ctx context.Context) time.Duration {
	return min(attemptTimeout, timeLeft(ctx)/time.Duration(len(c.servers)))
}

// open sends the request and returns the answer if it is a success of a node.
func (t *attempt) open(ctx context.Context) (*Stream, error) {
	resp, err := t.send(ctx)
	if err != nil {
		return nil, err
	}
	if t.fromNode(resp) && resp.StatusCode < http.StatusMultipleChoices {
		return &Stream{Status: resp.StatusCode, Header: resp.Header, Body: resp.Body, Server: t.server.String()}, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return nil, t.request.noAnswer(fmt.Errorf("%w: %s broke off: %w", ErrLost, t.server, err))
	}
	return nil, t.problem(ctx, resp, text)
}

// cancelBody is a body that cancels its request when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel func()
}

// Close implements [io.Closer].
func (e *cancelBody) Close() error {
	defer e.cancel()
	return e.ReadCloser.Close()
}

// readTracker records whether some of a body was read, which then cannot be sent again.
type readTracker struct {
	from    io.Reader
	started atomic.Bool
}

// Read implements [io.Reader].
func (r *readTracker) Read(part []byte) (int, error) {
	r.started.Store(true)
	return r.from.Read(part)
}
