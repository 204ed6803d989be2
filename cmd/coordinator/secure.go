// The API's certificates and tokens, and the warnings about them.

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
)

// secureConfig says what the API presents to callers and what it requires of them.
type secureConfig struct {
	cert, key, clientCA, ca, tokens string
	noLoopback                      bool
}

func (c *secureConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.cert, "tls-cert", "", "file with the certificate of the API, which is also shown to other nodes (default: the API is plain HTTP)")
	f.StringVar(&c.key, "tls-key", "", "file with the key of the API's certificate")
	f.StringVar(&c.clientCA, "tls-client-ca", "", "file with the CAs of the client certificates that callers must have (default: callers need none)")
	f.StringVar(&c.ca, "tls-ca", "", "file with the CAs of the other nodes' certificates (default: --tls-client-ca, else the CAs of the system)")
	f.StringVar(&c.tokens, "auth-token-file", "", "file with the tokens that callers may use (default: none, and only callers over loopback may change anything)")
	f.BoolVar(&c.noLoopback, "no-loopback-trust", false, "trust callers over loopback no more than others, for a node behind a proxy or a service mesh; without credentials nobody may change anything then")
}

// check reports settings that do not go together.
func (c *secureConfig) check(advertised string) error {
	var err error
	if (c.cert == "") != (c.key == "") {
		err = errors.New("tls-cert and tls-key go together: give both")
	}
	if c.clientCA != "" && c.cert == "" {
		err = errors.Join(err, errors.New("tls-client-ca: client certificates need an API with TLS: give --tls-cert and --tls-key"))
	}
	if u, parse := url.Parse(advertised); parse == nil && u.Scheme == "http" && c.cert != "" {
		err = errors.Join(err, fmt.Errorf("advertise-url %q: with --tls-cert the API needs an https:// URL", advertised))
	}
	return err
}

// controlled reports whether callers need credentials.
func (c *secureConfig) controlled() bool { return c.tokens != "" || c.clientCA != "" }

// scheme is the scheme of the API's URL.
func (c *secureConfig) scheme() string {
	if c.cert != "" {
		return "https"
	}
	return "http"
}

// secured holds what is in the files of a secureConfig.
type secured struct {
	server *credentials.Server // nil: plain HTTP
	peers  *credentials.Client
	access httpapi.Access
}

// read reads the files.
func (c *secureConfig) read(log *zap.Logger) (secured, error) {
	s := secured{access: httpapi.Access{Certificates: c.clientCA != "", NoLoopback: c.noLoopback}}
	var err error
	if c.cert != "" {
		if s.server, err = credentials.OpenServer(c.cert, c.key, c.clientCA, log); err != nil {
			return s, usageError{err}
		}
	}
	trusted := c.ca
	if trusted == "" {
		trusted = c.clientCA
	}
	if s.peers, err = credentials.OpenClient(c.cert, c.key, trusted, log); err != nil {
		return s, usageError{err}
	}
	if c.tokens != "" {
		tokens, err := credentials.OpenTokens(c.tokens, log)
		if err != nil {
			return s, usageError{err}
		}
		s.access.Tokens = tokens
	}
	return s, nil
}

// expiresSoon is how long before its end a certificate causes a warning.
const expiresSoon = 14 * 24 * time.Hour

// warn warns about security settings that the operator may not have intended.
func (s *secured) warn(listen string, log *zap.Logger) {
	open, asks := beyondLoopback(listen), s.access.Tokens != nil || s.access.Certificates
	if !asks && s.access.NoLoopback {
		log.Warn("nobody may change anything through the API; set --auth-token-file or --tls-client-ca", zap.String("listen", listen))
	}
	switch {
	case open && !asks:
		log.Warn("everybody who reaches the API may read everything; set --auth-token-file or --tls-client-ca", zap.String("listen", listen))
	case open && s.server == nil:
		log.Warn("tokens and state are sent unencrypted over the network; set --tls-cert and --tls-key", zap.String("listen", listen))
	}
	if s.server == nil {
		return
	}
	if end := s.server.Certificate().NotAfter; time.Until(end) < expiresSoon {
		log.Warn("certificate expires soon or has expired, renew it", zap.Time("not_after", end))
	}
	if err := s.server.CheckAsClient(); err != nil {
		log.Warn("other nodes would reject this node's certificate, so nothing can be forwarded to them", zap.Error(err))
	}
}

// aliveTimeout is how long a process may take to answer. If the process has ended but its
// machine is up, the connection is refused at once.
const aliveTimeout = time.Second

// ownNames are the host names with which callers may address this node, besides the
// advertised one.
func ownNames(listen string) []string {
	var found []string
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		found = append(found, host)
	}
	if host, err := os.Hostname(); err == nil {
		found = append(found, host)
	}
	return found
}

// serve serves the API until the server is shut down.
func (s *secured) serve(server *http.Server, l net.Listener) error {
	l = httpapi.LimitListener(l)
	if s.server == nil {
		return server.Serve(l)
	}
	server.TLSConfig = s.server.Config()
	return server.ServeTLS(l, "", "")
}

// stillAlive asks the process that published r whether it is alive. A disabled node
// publishes no instance: then the node that answers must have that id and must not be this
// process, which may listen at the address of the one before it.
func (d *daemon) stillAlive(ctx context.Context, r driver.Record) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	c, err := client.At(r.URI, client.Credentials{TLS: d.secured.peers})
	if err != nil {
		return false
	}
	defer c.Close()
	node, instance, err := c.Identity(ctx)
	switch {
	case err != nil, instance == d.node.Status().Instance:
		return false
	case r.Instance == "":
		return node == r.ID
	default:
		return instance == r.Instance
	}
}
