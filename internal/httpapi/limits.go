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

// What a client may take of a node, so that no client takes what the others need, nor
// what the node needs to keep its lease. Bodies have their limits in body.go.
const (
	// headerTimeout is how long a client may take to make a connection and to say what it
	// wants, and idleTimeout how long it may say nothing after that: longer than the nodes keep
	// the connections over which they forward, or a write would be lost on one that closes.
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	// answerTimeout is how long a request may take with its answer: longer than the longest
	// that is not a stream, which waits for a change of mode or a handover.
	answerTimeout = 3 * time.Minute
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 64 << 10
	// maxConnections bounds the connections at one time, and so the requests: a
	// connection takes one after the other. crowd.go says whose they are.
	maxConnections = 4096
	// maxExports bounds the exports at one time: each holds on to a view of the state.
	maxExports = 8
	// maxImports bounds the archives that are taken in at one time: each is kept on disk.
	maxImports = 2
	// maxPastReads bounds the reads of the past at one time, and maxDryRuns the dry runs of
	// a handover, which read all state.
	maxPastReads = 2
	maxDryRuns   = 2
	// maxMemory bounds, in bytes, what bodies may take together, and what answers may.
	maxMemory = 32 << 20
	// memoryWait is how long a request waits for memory, and stallLimit how long a client may
	// keep its memory to itself when it does not take its answer or does not send its body.
	memoryWait = 5 * time.Second
	stallLimit = time.Second
)

// maxConns is how many connections there may be: where the process may not open as
// many files it keeps one half of them for its store and its disk.
func maxConns() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur/2 > maxConnections {
		return maxConnections
	}
	return int(files.Cur / 2)
}

// HTTPServer makes a server of the API that keeps to its limits. Streams set a time for
// each of their parts in the place of that for the whole answer.
func (s *Server) HTTPServer() *http.Server {
	one := new(http.Protocols)
	one.SetHTTP1(true) // not HTTP/2, which has many requests on a connection
	return &http.Server{
		Handler: s, DisableGeneralOptionsHandler: true, Protocols: one, ConnContext: withConnection, ConnState: trackConnState, ErrorLog: log.New(serverLog{s.log}, "", 0),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: answerTimeout, MaxHeaderBytes: maxHeader,
	}
}

// serverLog takes what the server has to say. What clients can have it say as often as
// they like is not for people: that one does not come to TLS, or writes a query with
// semicolons.
type serverLog struct{ log *zap.Logger }

// Write implements [io.Writer].
func (l serverLog) Write(line []byte) (int, error) {
	for _, clients := range []string{"http: TLS handshake error", "http: URL query contains semicolon"} {
		if bytes.HasPrefix(line, []byte(clients)) {
			return debugLog(l).Write(line)
		}
	}
	l.log.Warn("API server has trouble", zap.ByteString("error", bytes.TrimSpace(line)))
	return len(line), nil
}

// debugLog takes what is a client's doing.
type debugLog struct{ log *zap.Logger }

// Write implements [io.Writer].
func (l debugLog) Write(line []byte) (int, error) {
	l.log.Debug("trouble with a client", zap.ByteString("error", bytes.TrimSpace(line)))
	return len(line), nil
}

// limiters are what requests of some kinds may take together.
type limiters struct {
	bodies  *limiter // bytes
	answers *limiter // bytes that are theirs alone
	watches *limiter
	exports *limiter
	imports *limiter

	// What is read from the store for whoever asks, in turns.
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

// limiterFor is the room that each request of a route takes a place in, and nil for the
// others. What else a request takes is only known when it has been read: those that keep
// much ask for memory, and those that read the past for their turn.
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

// do does something that takes a place in r.
func (l *limiter) do(ctx context.Context, do func() error) error {
	var p permit
	if err := l.acquire(ctx, &p, 1); err != nil {
		return err
	}
	defer p.release()
	return do()
}

// serve handles a request in a place of r.
func (l *limiter) serve(w http.ResponseWriter, r *http.Request, handle handler) error {
	if l == nil {
		return handle(w, r)
	}
	if err := l.acquire(r.Context(), &deadlineWriterOf(w).permit, 1); err != nil {
		return err
	}
	return handle(w, r)
}
