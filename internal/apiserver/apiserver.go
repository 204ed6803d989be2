// Package apiserver serves the API of a node of this process: it puts together what answers
// requests, what counts them, what callers have to show, and when the server stops. The command
// uses it, and so does coordinator/coordhttp for programs that embed a node.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
)

// Config configures a [Server]. Every field but Node is what it is in [httpapi.Config], or may be
// left out.
type Config struct {
	Node     *coordinator.Node
	Security Security
	// Names are host names with which callers may address this node, besides the advertised one.
	Names    []string
	SpoolDir string
	// Telemetry counts what the node and the API do; nil means that it is made here.
	Telemetry *telemetry.Telemetry
	// Fallback answers requests whose path is none of the API's; nil means 404.
	Fallback http.Handler
	Logger   *zap.Logger
	LogLevel zap.AtomicLevel
}

// Server is the handler of a node's API. Close it after the last request.
type Server struct {
	api     *httpapi.Server
	handler http.Handler
	other   http.Handler // for paths that are not the API's; nil: the API refuses them
	secured Security
	ended   chan struct{}
	running sync.WaitGroup
}

// New returns a server. It starts a goroutine that Close ends.
func New(cfg Config) *Server {
	if cfg.Telemetry == nil {
		cfg.Telemetry = telemetry.New(telemetry.Config{})
	}
	still := clock.NewStandstill()
	s := &Server{secured: cfg.Security, other: cfg.Fallback, ended: make(chan struct{})}
	s.api = httpapi.New(httpapi.Config{
		Standstill: still,
		Node:       cfg.Telemetry.Node(cfg.Node), MaxPayload: cfg.Node.MaxPayload(), SpoolDir: cfg.SpoolDir,
		Access: cfg.Security.Access, Names: cfg.Names, Peers: cfg.Security.Peers,
		Metrics: cfg.Telemetry.Exposition(), Transport: cfg.Telemetry.Transport, Logger: cfg.Logger, LogLevel: cfg.LogLevel,
	})
	s.handler = cfg.Telemetry.Handler(s.api)
	s.running.Go(func() { still.Watch(s.ended) })
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.other != nil && !s.api.Serves(r) {
		s.other.ServeHTTP(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// Close frees what the server holds.
func (s *Server) Close() {
	close(s.ended)
	s.running.Wait()
	s.api.Close()
}

// HTTPServer returns a server for the API with its limits and, if there is a certificate, TLS.
func (s *Server) HTTPServer() *http.Server {
	server := s.api.HTTPServer()
	server.Handler = s
	if s.secured.Server != nil {
		server.TLSConfig = s.secured.Server.Config()
	}
	return server
}

// Serve serves the API on l until the server, which [Server.HTTPServer] returned, is shut down.
func Serve(server *http.Server, l net.Listener) error {
	l = httpapi.LimitListener(l)
	var err error
	if server.TLSConfig == nil {
		err = server.Serve(l)
	} else {
		err = server.ServeTLS(l, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve API: %w", err)
}

// shutdownTimeout is how long the last answers of the API may take.
const shutdownTimeout = 2 * time.Second

// RunNode runs the node until ctx ends, and then shuts the server down: the API stops after the
// node, so that its clients can see the node stop.
func RunNode(ctx context.Context, node *coordinator.Node, server *http.Server) error {
	err := node.Run(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close() // requests that have not ended by now are cut off
	}
	return err
}

// OwnNames are the host names with which callers may address a node that listens at an address,
// besides the advertised one.
func OwnNames(listen string) []string {
	var found []string
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		found = append(found, host)
	}
	if host, err := os.Hostname(); err == nil {
		found = append(found, host)
	}
	return found
}
