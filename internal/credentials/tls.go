// Certificates and trusted CAs of servers and clients, from files.

package credentials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// onlyHTTP1 is the protocol that servers and clients negotiate. A connection then carries
// one request at a time, so limiting connections limits requests.
var onlyHTTP1 = []string{"http/1.1"}

// ServerTLS is a server's certificate and the CAs of its clients.
type ServerTLS struct {
	pair    *source[tls.Certificate]
	clients *source[*x509.CertPool] // nil: clients are not asked for certificates
}

// OpenServer reads a server's certificate and key and, if caFile is given, the CAs of its
// clients' certificates. The error is an [ErrUnusable].
func OpenServer(cert, key, clientCA string, log *zap.Logger) (*ServerTLS, error) {
	pair, err := open(log, parsePair, cert, key)
	if err != nil {
		return nil, err
	}
	s := &ServerTLS{pair: pair}
	if clientCA != "" {
		if s.clients, err = open(log, parsePool, clientCA); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Config is the configuration for a listener; each connection uses the current content of
// the files. A client certificate must be trusted if one is presented, but need not be
// presented: health checks need none.
func (s *ServerTLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: onlyHTTP1, Certificates: []tls.Certificate{s.pair.get()},
				SessionTicketsDisabled: true, // the trusted CAs are looked up for each connection
			}
			if s.clients != nil {
				c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, s.clients.get()
			}
			return c, nil
		},
	}
}

// Certificate returns the current certificate.
func (s *ServerTLS) Certificate() *x509.Certificate { return s.pair.get().Leaf }

// CheckAsClient returns why a server that requires client certificates of the same CA would
// reject this certificate. Nodes use one certificate both as server and as client.
func (s *ServerTLS) CheckAsClient() error {
	if s.clients == nil {
		return nil
	}
	pair := s.pair.get()
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots: s.clients.get(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// ClientTLS is a client's certificate and the CAs that it trusts. The zero value has no
// certificate and trusts the system's CAs.
type ClientTLS struct {
	pair  *source[tls.Certificate] // nil: no certificate
	roots *source[*x509.CertPool]  // nil: the system's CAs
}

// OpenClient reads a client's certificate and key, and the CAs that it trusts; each may be
// left out. The error is an [ErrUnusable].
func OpenClient(cert, key, ca string, log *zap.Logger) (*ClientTLS, error) {
	c := new(ClientTLS)
	var err error
	if cert != "" {
		if c.pair, err = open(log, parsePair, cert, key); err != nil {
			return nil, err
		}
	}
	if ca != "" {
		if c.roots, err = open(log, parsePool, ca); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// DialTLS makes a TLS connection with the current content of the files. It is meant for the
// field of that name in [net/http.Transport].
func (c *ClientTLS) DialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: onlyHTTP1}
	if c.pair != nil {
		// The certificate is sent even if it matches none of the CAs that the server names:
		// a server that rejects it says why, which it could not if none were sent.
		pair := c.pair.get()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if c.roots != nil {
		cfg.RootCAs = c.roots.get()
	}
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, address)
}

// parsePair parses a certificate and its key.
func parsePair(files []pemfile.File) (tls.Certificate, error) {
	return pemfile.Pair(files[0], files[1])
}

// parsePool parses CA certificates.
func parsePool(files []pemfile.File) (*x509.CertPool, error) { return pemfile.Pool(files[0]) }
