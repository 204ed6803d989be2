// Package coordhttp serves the API of a node that a program embeds, so that the program can be
// operated as the daemon is: "coordinator status", "handover", "mode", "doctor", "memento" and
// the other commands work on it, load balancers find its health and its role, and Prometheus its
// metrics.
//
//	node, err := coordinator.New(coordinator.Config{URI: "http://127.0.0.1:7400", …}, store)
//	…
//	err = coordhttp.ListenAndRun(ctx, node, "127.0.0.1:7400", coordhttp.Options{}) // until ctx ends
//
// The node's [coordinator.Config.URI] has to be the URL at which other nodes and the command reach
// the API. A node without one works, and can be asked where it listens; but nothing can be
// forwarded to it, and what would have to be says so.
//
// # Who may do what
//
// Without credentials anyone who reaches the API may read, and callers over loopback may also
// change things. [Options.Tokens] and [Options.ClientCA] change that. docs/SECURITY.md describes
// both for the daemon, and it is the same here.
//
// # Metrics
//
// GET /metrics tells of the node and of the requests to the API. What a node does in its store is
// counted where it happens: make a [Metrics] first, and connect it.
package coordhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/apiserver"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// Options say how an API is served. The zero value serves it over plain HTTP, without credentials.
//
// The files may change while the API is served: a renewed certificate or a revoked token is in
// force within seconds. What a changed file has that cannot be used is logged, and the previous
// content stays in force.
type Options struct {
	// TLSCert and TLSKey are files with the certificate and key of the API. The node shows the
	// same certificate to other nodes. Both empty means plain HTTP.
	TLSCert, TLSKey string
	// ClientCA is a file with the CAs of the client certificates that callers must have; empty
	// means that they need none. It needs TLSCert.
	ClientCA string
	// PeerCA is a file with the CAs of other nodes' certificates, to which requests are
	// forwarded; empty means ClientCA or, without that, the CAs of the system.
	PeerCA string
	// Tokens is a file with the tokens that callers may use and their roles, as "coordinator
	// token" writes it; empty means that callers need none.
	Tokens string
	// NoLoopbackTrust trusts callers over loopback no more than others, for a program behind a
	// proxy: without Tokens or ClientCA nobody may change anything then.
	NoLoopbackTrust bool
	// Names are host names with which callers may address the API, besides IP addresses,
	// localhost and the host of the node's URI. They count only if callers need no credentials:
	// a web page could otherwise read the API under a name of its own.
	Names []string
	// Metrics are served at /metrics; nil means those that need no [Metrics].
	Metrics *Metrics
	// Fallback answers requests whose path is none of the API's, so that a program needs only
	// one port; nil means 404. Callers need no credentials for it.
	Fallback http.Handler
	// SpoolDir is where an archive is stored while it is imported, which needs room for all of
	// it; empty means the system's directory for temporary files.
	SpoolDir string
	// Logger gets what clients are not told; nil means no log.
	Logger *zap.Logger
	// LogLevel is the level that "coordinator log-level" shows and changes; the zero value
	// means that it can do neither.
	LogLevel zap.AtomicLevel
}

// check reports options that do not go together.
func (o *Options) check(uri string) error {
	var err error
	if (o.TLSCert == "") != (o.TLSKey == "") {
		err = errors.New("TLSCert and TLSKey go together: give both")
	}
	if o.ClientCA != "" && o.TLSCert == "" {
		err = errors.Join(err, errors.New("ClientCA: client certificates need an API with TLS: give TLSCert and TLSKey"))
	}
	if u, parse := url.Parse(uri); parse == nil && u.Scheme == "http" && o.TLSCert != "" {
		err = errors.Join(err, fmt.Errorf("with TLSCert the node needs an https:// address, not %q: set Config.URI", uri))
	}
	return err
}

// Handler is the API of a node. Close it after the last request.
type Handler struct{ server *apiserver.Server }

// New returns the API of a node, for a server that the program has: [Run] has one with limits on
// what clients may use, which New does not give. The error tells which options or files cannot be
// used.
func New(node *coordinator.Node, o Options) (*Handler, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if err := o.check(node.Status().URI); err != nil {
		return nil, fmt.Errorf("options of the API: %w", err)
	}
	files := apiserver.Files{
		Cert: o.TLSCert, Key: o.TLSKey, ClientCA: o.ClientCA, CA: o.PeerCA,
		Tokens: o.Tokens, NoLoopback: o.NoLoopbackTrust,
	}
	security, err := files.Open(o.Logger)
	if err != nil {
		return nil, fmt.Errorf("options of the API: %w", err)
	}
	var counted *telemetry.Telemetry
	if o.Metrics != nil {
		counted = o.Metrics.telemetry
	}
	return &Handler{apiserver.New(apiserver.Config{
		Node: node, Security: security, Names: o.Names, SpoolDir: o.SpoolDir, Fallback: o.Fallback,
		Telemetry: counted, Logger: o.Logger, LogLevel: o.LogLevel,
	})}, nil
}

// ServeHTTP implements [http.Handler]. It may be called at any time: a node that does not run yet,
// or no more, says so.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.server.ServeHTTP(w, r) }

// Close frees what the handler holds. Call it once, after the last request.
func (h *Handler) Close() { h.server.Close() }

// Run runs the node and serves its API on l, until ctx ends or the node or the API cannot go on. It
// closes l. The API stops after the node, so that its clients can see the node stop. Run returns
// what [coordinator.Node.Run] does, an error of New, or why the API could not be served.
func Run(ctx context.Context, node *coordinator.Node, l net.Listener, o Options) error {
	o.Names = append(apiserver.OwnNames(l.Addr().String()), o.Names...)
	h, err := New(node, o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer h.Close()
	server := h.server.HTTPServer()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return apiserver.Serve(server, l) })
	group.Go(func() error { return apiserver.RunNode(ctx, node, server) })
	return group.Wait()
}

// ListenAndRun is [Run] with a listener at a TCP address, host:port.
func ListenAndRun(ctx context.Context, node *coordinator.Node, address string, o Options) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	return Run(ctx, node, l, o)
}
