// This file has the limits on what clients may use: connections, time and memory. No client may
// take what others need, or what the node needs to keep its lease. The limits of bodies are in
// body.go.

package httpapi

import (
	"bytes"
	"context"
	"log"
	"net/http"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

const (
	// headerTimeout is how long a client may take to open a connection and send the header of a
	// request. idleTimeout is how long a connection may be idle. It is longer than nodes keep
	// the connections over which they forward: a write could be lost on a connection that is
	// being closed.
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	// answerTimeout is how long an answer may take. It is longer than the longest request that
	// is not a stream: a change of mode, or a handover.
	answerTimeout = 3 * time.Minute
	// maxHeader limits the header of a request, in bytes.
	maxHeader = 64 << 10
	// maxConnections limits the connections at one time, and with them the requests, because a
	// connection carries one request at a time. See connections.go.
	maxConnections = 4096
	// maxExports limits concurrent exports: each keeps a view of the state in memory.
	maxExports = 8
	// maxImports limits the archives that are received at one time: each is stored on disk.
	maxImports = 2
	// maxPastReads limits concurrent reads of past revisions, and maxDryRuns concurrent dry
	// runs of a handover, which read the whole state.
	maxPastReads = 2
	maxDryRuns   = 2
	// maxMemory limits, in bytes, what all bodies use together, and what all answers do.
	maxMemory = 32 << 20
	// memoryWait is how long a request waits for memory. stallLimit is how long a client may
	// stall, by not taking its answer or not sending its body, before others may have its
	// memory.
	memoryWait = 5 * time.Second
	stallLimit = time.Second
)

// maxConns returns how many connections are allowed. If the process may open only a few files,
// half of them are kept for the store and the disk.
func maxConns() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur/2 > maxConnections {
		return maxConnections
	}
	return int(files.Cur / 2)
}

// HTTPServer returns a server for the API with its limits. Streams replace the timeout for the
// whole answer by one for each part.
func (s *Server) HTTPServer() *http.Server {
	one := new(http.Protocols)
	one.SetHTTP1(true) // HTTP/2 has many requests on a connection
	return &http.Server{
		Handler: s, DisableGeneralOptionsHandler: true, Protocols: one, ConnContext: withConnection, ConnState: trackConnState, ErrorLog: log.New(serverLog{s.log}, "", 0),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: answerTimeout, MaxHeaderBytes: maxHeader,
	}
}

// serverLog is the server's error log. Messages that any client can cause at will are logged at
// debug level only: failed TLS handshakes, and queries with semicolons.
type serverLog struct{ log *zap.Logger }

// Write implements [io.Writer].
func (l serverLog) Write(line []byte) (int, error) {
	for _, clients := range []string{"http: TLS handshake error", "http: URL query contains semicolon"} {
		if bytes.HasPrefix(line, []byte(clients)) {
			return debugLog(l).Write(line)
		}
	}
	l.log.Warn("API server error", zap.ByteString("error", bytes.TrimSpace(line)))
	return len(line), nil
}

// debugLog logs what clients cause, at debug level.
type debugLog struct{ log *zap.Logger }

// Write implements [io.Writer].
func (l debugLog) Write(line []byte) (int, error) {
	l.log.Debug("client error", zap.ByteString("error", bytes.TrimSpace(line)))
	return len(line), nil
}

// limiters has a limiter for each kind of use.
type limiters struct {
	bodies  *limiter // bytes
	answers *limiter // bytes that no other answer shares
	watches *limiter
	exports *limiter
	imports *limiter

	// Reads of the store.
	pastReads, dryRuns *limiter
}

func newLimiters() limiters {
	return limiters{
		bodies:  newLimiter("large bodies", maxMemory, memoryWait, stallLimit),
		answers: newLimiter("large answers", maxMemory, memoryWait, stallLimit),
		watches: newLimiter("watches", int64(maxConns()*3/4), 0, partTimeout),
		exports: newLimiter("exports", maxExports, stallLimit, partTimeout),
		imports: newLimiter("imports", maxImports, stallLimit, partTimeout),

		pastReads: newLimiter("reads of the past", maxPastReads, memoryWait, 0),
		dryRuns:   newLimiter("dry runs of a handover", maxDryRuns, memoryWait, 0),
	}
}

// limiterFor returns the limiter from which each request of a route needs a permit, or nil.
// What else a request needs is known only once it is read: its handler then acquires memory, or
// a permit to read the past.
func (l *limiters) limiterFor(pattern string) *limiter {
	switch pattern {
	case "GET " + wire.PathWatch:
		return l.watches
	case "GET " + wire.PathExport:
		return l.exports
	case "POST " + wire.PathImport:
		return l.imports
	default:
		return nil
	}
}

// do runs a function with a permit of l.
func (l *limiter) do(ctx context.Context, do func() error) error {
	var p permit
	if err := l.acquire(ctx, &p, 1); err != nil {
		return err
	}
	defer p.release()
	return do()
}

// serve handles a request with a permit of l; a nil l has no limit.
func (l *limiter) serve(w http.ResponseWriter, r *http.Request, handle handler) error {
	if l == nil {
		return handle(w, r)
	}
	if err := l.acquire(r.Context(), &deadlineWriterOf(w).permit, 1); err != nil {
		return err
	}
	return handle(w, r)
}
