// This file decides who may do what, and no other file does; docs/SECURITY.md describes it for
// operators. A node that forwards a request checks it first, and the node that carries it out
// checks it again with the same credentials.

package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Access says how callers identify themselves. With the zero value callers need no credentials:
// anyone who uses a name of this node may read, and only callers over loopback may change
// anything.
type Access struct {
	// Tokens knows the bearer tokens; nil means that no token is required.
	Tokens TokenLookup
	// Certificates requires each caller to show a client certificate, which the listener
	// verifies. Without Tokens every caller with such a certificate may do everything.
	Certificates bool
	// NoLoopback removes the trust in callers over loopback: without Tokens and Certificates
	// nobody may change anything then.
	NoLoopback bool
}

// TokenLookup looks up the holder of a bearer token.
type TokenLookup interface {
	Holder(token string) (credentials.TokenOwner, bool)
}

// requiredRole returns the role that a route requires. Routes that only read require viewer; a
// route that is not listed here requires admin.
func requiredRole(pattern string) credentials.Role {
	switch pattern {
	case "GET " + wire.PathLive, "GET " + wire.PathReady, "GET " + wire.PathRole + "{role}":
		return credentials.Nobody // supervisors and load balancers have no credentials
	case "POST " + wire.PathHandover:
		return credentials.Viewer // a dry run changes nothing; postHandover checks for more
	case "PUT " + wire.PathMode, "PUT " + wire.PathPriority,
		"POST " + wire.PathPause, "POST " + wire.PathResume,
		"PUT " + wire.PathMementos + "/{type}/{id}", "DELETE " + wire.PathMementos + "/{type}/{id}", "POST " + wire.PathBatch,
		"POST " + wire.PathImport: // postImport checks for more if it is to delete
		return credentials.Operator
	}
	if strings.HasPrefix(pattern, "GET ") {
		return credentials.Viewer
	}
	return credentials.Admin
}

// authorize returns nil if the caller of r has the required role, and otherwise why not.
func (s *Server) authorize(r *http.Request, required credentials.Role) error {
	switch access := s.cfg.Access; {
	case required == credentials.Nobody:
		return nil
	case access.Certificates && !hasVerifiedCert(r):
		return fmt.Errorf("%w: this node requires a client certificate of its CA: give one with --cert and --key", wire.ErrForbidden)
	case access.Tokens != nil:
		return s.authorizeToken(r, required)
	case access.Certificates:
		return nil
	case !s.isOwnName(r.Host):
		// DNS rebinding: a web page can make a browser reach this node under a name that the
		// page's owner controls, and can then read the answers.
		return fmt.Errorf("%w: this was sent to %.100q, which is not a name of this node: use its address, localhost, its machine's name, or the name in --listen or --advertise-url, or configure the nodes to ask for credentials", wire.ErrForbidden, r.Host)
	case required == credentials.Viewer:
		return nil
	default:
		return s.authorizeLoopback(r)
	}
}

func hasVerifiedCert(r *http.Request) bool { return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 }

// authorizeToken checks the role of the bearer token in the request.
func (s *Server) authorizeToken(r *http.Request, required credentials.Role) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) > 1 {
		return fmt.Errorf("%w: this node requires a token: name a file with one in --token-file", wire.ErrNoIdentity)
	}
	holder, known := s.cfg.Access.Tokens.Holder(strings.TrimSpace(token))
	switch {
	case !known:
		return fmt.Errorf("%w: this node does not know the token: it may have been replaced", wire.ErrNoIdentity)
	case holder.Role < required:
		return fmt.Errorf("%w: the token of %s has the role %s, and this needs the role %s", wire.ErrForbidden, holder.Name, holder.Role, required)
	}
	return nil
}

// authorizeLoopback allows requests that were sent on this machine.
func (s *Server) authorizeLoopback(r *http.Request) error {
	const instead = "without --auth-token-file or --tls-client-ca a node accepts changes over loopback only"
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	peer, err := netip.ParseAddr(host)
	switch {
	case s.cfg.Access.NoLoopback:
		return fmt.Errorf("%w: with --no-loopback-trust and neither --auth-token-file nor --tls-client-ca a node accepts no changes: start it with one of these", wire.ErrForbidden)
	case err != nil || !peer.IsLoopback():
		return fmt.Errorf("%w: %s, and this came from %.50s: send it to 127.0.0.1 on the node's machine, or configure the nodes to ask for credentials", wire.ErrForbidden, instead, r.RemoteAddr)
	case isProxied(r):
		return fmt.Errorf("%w: %s, and this came through a proxy", wire.ErrForbidden, instead)
	}
	return nil
}

// isProxied reports whether a proxy says that it forwarded the request. Behind a proxy on the
// node's own machine every caller would look local.
func isProxied(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if _, there := r.Header[name]; there {
			return true
		}
	}
	return false
}

// isOwnName reports whether the request's host names this node: an IP address, localhost, the
// host of the advertised URL, or one of the configured names.
func (s *Server) isOwnName(host string) bool {
	name := strings.TrimSuffix((&url.URL{Host: host}).Hostname(), ".")
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	if name == "" {
		return false
	}
	own, err := url.Parse(s.node.Status().URI)
	return err == nil && strings.EqualFold(name, own.Hostname()) ||
		slices.ContainsFunc(s.cfg.Names, func(known string) bool { return strings.EqualFold(name, known) })
}

// checkOrigin refuses cross-origin requests that a web page made a browser send.
func (s *Server) checkOrigin(r *http.Request) error {
	if err := s.origins.Check(r); err != nil {
		return fmt.Errorf("%w: the request comes from a page of another site: %w", wire.ErrForbidden, err)
	}
	return nil
}

// setInstance names the process that answers, so that a caller that took the address from a
// record can tell whether it is the same process.
func (s *Server) setInstance(h http.Header) {
	h.Set(wire.HeaderInstance, s.node.Status().Instance)
}
