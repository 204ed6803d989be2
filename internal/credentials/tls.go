package credentials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// onlyHTTP1 is the protocol that servers and clients agree on. One connection is then
// one request at a time: what bounds connections bounds requests.
var onlyHTTP1 = []string{"http/1.1"}

// Server is what a server shows and whom it trusts.
type Server struct {
	pair    *source[tls.Certificate]
	clients *source[*x509.CertPool] // nil: no client is asked for a certificate
}

// OpenServer reads a server's certificate and key and, if it is named, the file of the
// CAs that sign its clients' certificates. The error is an [ErrUnusable].
func OpenServer(cert, key, clientCA string, log *zap.Logger) (*Server, error) {
	pair, err := open(log, parsePair, cert, key)
	if err != nil {
		return nil, err
	}
	s := &Server{pair: pair}
	if clientCA != "" {
		if s.clients, err = open(log, parsePool, clientCA); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Config is the configuration for a listener; each connection gets what the files then
// hold. A client that shows a certificate must show one that is trusted; one that shows
// none is let in, so that whoever asks for a node's health needs none.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: onlyHTTP1, Certificates: []tls.Certificate{s.pair.get()},
				SessionTicketsDisabled: true, // whom to trust is looked up at each connection
			}
			if s.clients != nil {
				c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, s.clients.get()
			}
			return c, nil
		},
	}
}

// Certificate is the certificate that is shown at present.
func (s *Server) Certificate() *x509.Certificate { return s.pair.get().Leaf }

// CheckAsClient tells why the servers that ask their clients for certificates of the
// same CA would refuse this one's; nodes show each other what they show as servers.
func (s *Server) CheckAsClient() error {
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

// Client is what a client shows and whom it trusts. The zero value shows nothing and
// trusts the CAs of the system.
type Client struct {
	pair  *source[tls.Certificate] // nil: it shows none
	roots *source[*x509.CertPool]  // nil: those of the system
}

// OpenClient reads a client's certificate and key, and the file of the CAs that it
// trusts; each may be left out. The error is an [ErrUnusable].
func OpenClient(cert, key, ca string, log *zap.Logger) (*Client, error) {
	c := new(Client)
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

// DialTLS makes a secure connection, with what the files then hold. It is what
// [net/http.Transport] calls so.
func (c *Client) DialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: onlyHTTP1}
	if c.pair != nil {
		// Whatever CAs the server asks for: one that does not take this certificate says
		// so, and would say nothing of one that it was not shown.
		pair := c.pair.get()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if c.roots != nil {
		cfg.RootCAs = c.roots.get()
	}
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, address)
}

// parsePair reads a certificate and its key.
func parsePair(files []pemfile.File) (tls.Certificate, error) {
	return pemfile.Pair(files[0], files[1])
}

// parsePool reads the certificates of CAs.
func parsePool(files []pemfile.File) (*x509.CertPool, error) { return pemfile.Pool(files[0]) }
