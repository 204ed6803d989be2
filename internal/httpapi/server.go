// Package httpapi serves the API of one node: its mode, its plane and the
// mementos. Its contract is the wire, described by openapi.json, not its Go
// names.
//
// A node that holds state answers reads from it. A write is carried out where
// the master is: another node forwards it once, with the answer's status and
// body untouched. What a client is told of a failed write is what is known:
// refused and not applied, or unknown.
package httpapi

import (
	_ "embed"
	"errors"
	"net/http"
	"runtime/debug"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Config is what a server is made of. Node, MaxPayload and LogLevel are required.
type Config struct {
	Node Node
	// MaxPayload is the most bytes one memento may have: larger bodies are refused
	// before they are read to the end.
	MaxPayload int
	// SpoolDir is where an archive is kept while it is imported; empty means the
	// system's directory for temporary files. It needs room for the whole archive.
	SpoolDir string
	// Access says how callers identify themselves.
	Access Access
	// Names are those by which callers may mean this node, beside addresses, localhost and
	// the name in its URI. They count where callers are not asked who they are.
	Names []string
	// Peers is what this node shows the others when it forwards to them, and whom it
	// trusts to be one; nil means nothing, and the CAs of the system.
	Peers *credentials.Client
	// Metrics answers GET /metrics; nil means that there is nothing to show.
	Metrics http.Handler
	// Standstill tells of the process; nil means that it never stands still.
	Standstill Standstill
	// Transport comes between the API and the nodes that it forwards to; nil means
	// that nothing does.
	Transport func(http.RoundTripper) http.RoundTripper
	// Logger gets what the clients cannot be told; nil means nowhere.
	Logger *zap.Logger
	// LogLevel is the level of the process's log, which clients may change.
	LogLevel zap.AtomicLevel
}

//go:embed openapi.json
var openAPI []byte

// Server is the API's handler. Close it when no request can come any more.
type Server struct {
	cfg       Config
	node      Node
	log       *zap.Logger
	mux       *http.ServeMux
	listings  *listings
	forwarder *forwarder
	origins   http.CrossOriginProtection
	limiters
	planes    *singleflight[[]byte] // as they are sent
	histories *singleflight[[]byte]
	confirms  *singleflight[struct{}]
	lastCheck atomic.Pointer[storeCheck]
	freeSpace func(dir string) (int64, error) // bytes on its disk
	importing chan struct{}                   // holds a token while an archive is written
}

// New makes a server.
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

// handler answers a request or says why it cannot.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes is the whole API.
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

// Close forgets what is kept for clients that page through a listing.
func (s *Server) Close() {
	s.listings.close()
	s.forwarder.close()
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
			panic(p) // a client that went away while it was answered
		}
		s.log.Error("request panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		s.fail(w, r, errors.New("internal error, see the node's log"))
	}()
	h := w.Header()
	h.Set(wire.HeaderNode, s.node.ID())
	// Whatever is stored or repeated here, a browser neither guesses that it is a page nor
	// runs it as one.
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
