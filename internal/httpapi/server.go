// Package httpapi serves the API of one node: the node itself, its plane and the mementos. The
// contract is what goes over HTTP, described by openapi.json, and not the Go names.
//
// A node that holds state answers reads from its copy. Writes are carried out by the master:
// any other node forwards a write once and passes the answer on unchanged. A failed write is
// reported either as refused, so that it was not applied, or as unknown.
//
// This file has the server and its routes.
package httpapi

import (
	_ "embed"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Config configures a server. Node and MaxPayload are required.
type Config struct {
	Node Node
	// MaxPayload is the largest payload of a memento, in bytes. Larger bodies are refused
	// before they are read to the end.
	MaxPayload int
	// SpoolDir is where an archive is stored while it is imported. It needs room for the whole
	// archive. Empty means the system's directory for temporary files.
	SpoolDir string
	// Access says how callers identify themselves.
	Access Access
	// Names are further host names of this node, in addition to IP addresses, localhost and the
	// host of its URI. They are checked only if callers need no credentials.
	Names []string
	// Peers is what this node shows to nodes to which it forwards, and which CAs it trusts. Nil
	// means no certificate, and the system's CAs.
	Peers *credentials.ClientTLS
	// Metrics answers GET /metrics; nil means 404.
	Metrics http.Handler
	// Standstill reports when the process was suspended; nil means that it never was.
	Standstill StandstillDetector
	// Transport wraps the transport of forwarded requests; nil means no wrapper.
	Transport func(http.RoundTripper) http.RoundTripper
	// Logger gets errors that clients are not told; nil means no log.
	Logger *zap.Logger
	// LogLevel is the level of the process's log, which clients may change; the zero value
	// means 404.
	LogLevel zap.AtomicLevel
}

//go:embed openapi.json
var openAPI []byte

// Server is the handler of the API. Close it after the last request.
type Server struct {
	cfg       Config
	node      Node
	log       *zap.Logger
	mux       *http.ServeMux
	listings  *listings
	forwarder *forwarder
	origins   http.CrossOriginProtection
	limiters
	planes    *singleflight[[]byte] // the encoded answers
	histories *singleflight[[]byte]
	confirms  *singleflight[struct{}]
	lastCheck atomic.Pointer[storeCheck]
	freeSpace func(dir string) (int64, error) // bytes
	importing chan struct{}                   // holds a token while an archive is written
}

// New returns a server.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Transport == nil {
		cfg.Transport = func(direct http.RoundTripper) http.RoundTripper { return direct }
	}
	s := &Server{
		cfg: cfg, node: cfg.Node, log: cfg.Logger, mux: http.NewServeMux(), listings: newListings(cfg.Node),
		limiters: newLimiters(), planes: newSingleflight[[]byte](), histories: newSingleflight[[]byte](), confirms: newSingleflight[struct{}](),
		freeSpace: freeSpace,
		importing: make(chan struct{}, 1),
	}
	s.forwarder = newForwarder(s)
	for pattern, handle := range s.routes() {
		params, required, limiter := knownParams(pattern), requiredRole(pattern), s.limiterFor(pattern)
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := s.authorize(r, required)
			if err == nil {
				err = checkQuery(r, params)
			}
			if err == nil {
				err = checkHeaders(r, pattern)
			}
			if err == nil {
				err = limiter.serve(w, withArrival(r), handle)
			}
			switch {
			case errors.Is(err, errAbandoned):
				deadlineWriterOf(w).abandon()
			case err != nil:
				s.fail(w, r, err)
			}
		})
	}
	return s
}

// handler answers a request, or returns an error that is answered as a problem.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes returns the handlers of all routes.
func (s *Server) routes() map[string]handler {
	return map[string]handler{
		"GET " + wire.PathNode:                         s.getNode,
		"PUT " + wire.PathMode:                         s.putMode,
		"PUT " + wire.PathPriority:                     s.putPriority,
		"GET " + wire.PathLogLevel:                     s.getLogLevel,
		"PUT " + wire.PathLogLevel:                     s.putLogLevel,
		"GET " + wire.PathPlane:                        s.getPlane,
		"POST " + wire.PathHandover:                    s.postHandover,
		"POST " + wire.PathPause:                       s.postPause,
		"POST " + wire.PathResume:                      s.postResume,
		"DELETE " + wire.PathLeft + "/{id}":            s.deleteLeft,
		"GET " + wire.PathHistory:                      s.getHistory,
		"GET " + wire.PathTypes:                        s.getTypes,
		"GET " + wire.PathMementos:                     s.listMementos,
		"GET " + wire.PathMementos + "/{type}/{id}":    s.getMemento,
		"PUT " + wire.PathMementos + "/{type}/{id}":    s.putMemento,
		"DELETE " + wire.PathMementos + "/{type}/{id}": s.deleteMemento,
		"POST " + wire.PathBatch:                       s.postBatch,
		"GET " + wire.PathWatch:                        s.getWatch,
		"GET " + wire.PathExport:                       s.getExport,
		"POST " + wire.PathImport:                      s.postImport,
		"GET " + wire.PathLive:                         s.getLive,
		"GET " + wire.PathReady:                        s.getReady,
		"GET " + wire.PathRole + "{role}":              s.getRole,
		"GET " + wire.PathOpenAPI:                      s.getOpenAPI,
		"GET " + wire.PathMetrics:                      s.getMetrics,
	}
}

// Close drops the views that are kept for listings, and closes idle connections to other nodes.
func (s *Server) Close() {
	s.listings.close()
	s.forwarder.close()
}

// Serves reports whether the request's path is one of the API's: one that it has, or one that only
// it could have.
func (s *Server) Serves(r *http.Request) bool {
	_, pattern := s.mux.Handler(r)
	return pattern != "" || strings.HasPrefix(r.URL.Path, "/v1/") || isHealthPath(r.URL.Path)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w := newDeadlineWriter(to, r, s.bodies)
	defer w.finish()
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // the answer cannot be completed, so net/http closes the connection
		}
		s.log.Error("request panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		s.fail(w, r, errors.New("internal error, see the node's log"))
	}()
	h := w.Header()
	h.Set(wire.HeaderNode, s.node.ID())
	// Payloads come from clients. A browser must neither guess that one is a page nor run it as
	// one.
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	setBodyDeadline(w, r)
	err := admitRequest(w, r)
	if err == nil {
		err = s.checkOrigin(r)
	}
	if err == nil {
		err = checkPath(r.URL)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if h, pattern := s.mux.Handler(r); pattern == "" {
		s.fail(w, r, routeError(w, r, h))
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}

func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Metrics == nil {
		return wire.NewProblem(http.StatusNotFound, wire.KindNotFound, "this node shows no metrics")
	}
	s.cfg.Metrics.ServeHTTP(w, r)
	return nil
}
