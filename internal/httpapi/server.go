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
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Node is what the API needs of a node: [coordinator.Node] is one.
type Node interface {
	ID() string
	State() modes.State
	Status() coordinator.Status
	Plane(ctx context.Context) (coordinator.Plane, error)
	CheckStore(ctx context.Context) error
	Glimpse() coordinator.Plane
	WaitMaster(ctx context.Context) (coordinator.Member, error)
	WaitSuccessor(ctx context.Context, term int64) error
	History(ctx context.Context) ([]coordinator.HistoryEntry, error)
	ChangeMode(ctx context.Context, to modes.Mode) (coordinator.ModeChange, error)
	SetPriority(ctx context.Context, to int) (previous int, err error)
	Handover(ctx context.Context, to string) (coordinator.Passed, error)
	Rehearse(ctx context.Context, to string) ([]coordinator.Check, error)
	Pause(ctx context.Context, lasting time.Duration) (coordinator.Pause, error)
	Resume(ctx context.Context) error
	Forget(ctx context.Context, id string) error
	Read() (coordinator.Reading, error)
	WaitRevision(ctx context.Context, to rebind.Revision) error
	Confirm(ctx context.Context) error
	Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error)
	Steps(ctx context.Context, after rebind.Revision) ([]rebind.Step, rebind.Revision, error)
	Replay(ctx context.Context, after rebind.Revision, tell func([]rebind.Step) error) (rebind.Revision, error)
	Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error)
}

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
	cfg      Config
	node     Node
	log      *zap.Logger
	mux      *http.ServeMux
	listings *listings
	forward  *forwarder
	origins  http.CrossOriginProtection
	rooms
	planes    *shared[[]byte] // as they are sent
	histories *shared[[]byte]
	confirms  *shared[struct{}]
	checked   atomic.Pointer[checked]
	free      func(dir string) (int64, error) // bytes on its disk
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
		rooms: newRooms(), planes: newShared[[]byte](), histories: newShared[[]byte](), confirms: newShared[struct{}](),
		free:      free,
		importing: make(chan struct{}, 1),
	}
	s.forward = newForwarder(s)
	for pattern, handle := range s.routes() {
		known, needs, places := parameters(pattern), needed(pattern), s.placesOf(pattern)
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := s.allow(r, needs)
			if err == nil {
				err = checkQuery(r, known)
			}
			if err == nil {
				err = checkHeaders(r, pattern)
			}
			if err == nil {
				err = places.run(w, arrived(r), handle)
			}
			switch {
			case errors.Is(err, errAbandoned):
				patientOf(w).abandon()
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
	s.forward.close()
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w := newPatient(to, r, s.bodies)
	defer w.end()
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
	expectBody(w, r)
	err := attend(w, r)
	if err == nil {
		err = s.sameOrigin(r)
	}
	if err == nil {
		err = checkPath(r.URL)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if h, pattern := s.mux.Handler(r); pattern == "" {
		s.fail(w, r, notRouted(w, r, h))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// checkPath refuses paths that routing would otherwise clean, decode or redirect
// before anybody has looked at the names in them.
func checkPath(u *url.URL) error {
	escaped := plain(u.EscapedPath())
	if rest, ok := strings.CutPrefix(escaped, wire.PathMementos+"/"); ok && escaped != wire.PathBatch {
		_, err := parseName(rest)
		return err
	}
	if rest, ok := strings.CutPrefix(escaped, wire.PathLeft+"/"); ok {
		return checkNode(rest)
	}
	if path.Clean("/"+escaped) != escaped && escaped != "/" {
		return badRequest("path %.100q: begin it with / and use no empty, . or .. parts", escaped)
	}
	return nil
}

// plain is an escaped path without the escapes that it does not need: routing takes
// /%761/node for /v1/node.
func plain(escaped string) string {
	if !strings.Contains(escaped, "%") {
		return escaped
	}
	parts := strings.Split(escaped, "/")
	for i, part := range parts {
		if text, err := url.PathUnescape(part); err == nil {
			parts[i] = url.PathEscape(text)
		}
	}
	return strings.Join(parts, "/")
}

// parseName reads the escaped form of type/id.
func parseName(escaped string) (rebind.Name, error) {
	typ, id, ok := strings.Cut(escaped, "/")
	if !ok {
		return "", badRequest("memento name %.100q: write it as type/id", escaped)
	}
	typ, errType := url.PathUnescape(typ)
	id, errID := url.PathUnescape(id)
	if err := errors.Join(errType, errID); err != nil {
		return "", badRequest("memento name %.100q: %w", escaped, err)
	}
	return rebind.NewName(typ, id)
}

// checkNode refuses the escaped form of what cannot be the id of a node.
func checkNode(escaped string) error {
	id, err := url.PathUnescape(escaped)
	if err == nil {
		err = coordinator.CheckNode(id)
	}
	if err != nil {
		return badRequest("%w", err)
	}
	return nil
}

// nameIn is the name in a path that checkPath has let pass.
func nameIn(r *http.Request) rebind.Name {
	return rebind.Name(r.PathValue("type") + "/" + r.PathValue("id"))
}

// notRouted is the error for what the mux has no handler of ours for: its own one
// knows which methods a path would take.
func notRouted(w http.ResponseWriter, r *http.Request, h http.Handler) error {
	probe := &statusProbe{header: make(http.Header)}
	h.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return wire.NewProblem(http.StatusNotFound, wire.KindNotFound, fmt.Sprintf("no such path: %.100q; see %s", r.URL.Path, wire.PathOpenAPI))
	}
	allow := probe.header.Get("Allow")
	w.Header().Set("Allow", allow)
	return wire.NewProblem(http.StatusMethodNotAllowed, wire.KindMethod, fmt.Sprintf("%s is not allowed here, use %s", r.Method, allow))
}

// statusProbe takes an answer for its status and headers.
type statusProbe struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (p *statusProbe) Header() http.Header { return p.header }

// WriteHeader keeps the status.
func (p *statusProbe) WriteHeader(status int) { p.status = status }

// Write drops the body.
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }

// fail answers with the problem that err is.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r, err)
	switch p.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", wire.RetryAfter)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="coordinator"`)
	}
	writeJSON(w, p.Status, wire.ProblemType, p)
}

// problem is the problem that err is. What is nobody's fault but this node's is logged; a
// client that has hung up is not that, whatever was going on for it.
func (s *Server) problem(r *http.Request, err error) *wire.Problem {
	p := wire.ProblemOf(err)
	if p.Status != http.StatusInternalServerError {
		return p
	}
	told := []zap.Field{zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err)}
	if r.Context().Err() != nil {
		s.log.Debug("client has hung up", told...)
		return wire.ProblemOf(fmt.Errorf("%w: the caller has hung up: %w", rebind.ErrUnknown, err))
	}
	s.log.Error("request failed", told...)
	return p
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	writeJSON(w, status, "application/json", v)
	return nil
}

// writeJSON is for what is small: it is in memory as a whole.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	writeBody(w, status, contentType, encoded(v))
}

// encoded is v as JSON.
func encoded(v any) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // payloads are to come as they are, and not six times as large
	encode(enc, v)
	return body.Bytes()
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone is told nothing
}

func encode(enc *json.Encoder, v any) {
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", v, err)) // all our types encode
	}
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
