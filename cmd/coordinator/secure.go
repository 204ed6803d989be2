// The API's certificates and tokens, and the warnings about them.

package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/apiserver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
)

// secureConfig says what the API presents to callers and what it requires of them.
type secureConfig struct{ apiserver.Files }

func (c *secureConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Cert, "tls-cert", "", "file with the certificate of the API, which is also shown to other nodes (default: the API is plain HTTP)")
	f.StringVar(&c.Key, "tls-key", "", "file with the key of the API's certificate")
	f.StringVar(&c.ClientCA, "tls-client-ca", "", "file with the CAs of the client certificates that callers must have (default: callers need none)")
	f.StringVar(&c.CA, "tls-ca", "", "file with the CAs of the other nodes' certificates (default: --tls-client-ca, else the CAs of the system)")
	f.StringVar(&c.Tokens, "auth-token-file", "", "file with the tokens that callers may use (default: none, and only callers over loopback may change anything)")
	f.BoolVar(&c.NoLoopback, "no-loopback-trust", false, "trust callers over loopback no more than others, for a node behind a proxy or a service mesh; without credentials nobody may change anything then")
}

// scheme is the scheme of the API's URL.
func (c *secureConfig) scheme() string {
	if c.Cert != "" {
		return "https"
	}
	return "http"
}

// expiresSoon is how long before its end a certificate causes a warning.
const expiresSoon = 14 * 24 * time.Hour

// warnOfAccess warns about security settings that the operator may not have intended.
func warnOfAccess(s *apiserver.Security, listen string, log *zap.Logger) {
	open, asks := beyondLoopback(listen), s.Access.Tokens != nil || s.Access.Certificates
	if !asks && s.Access.NoLoopback {
		log.Warn("nobody may change anything through the API; set --auth-token-file or --tls-client-ca", zap.String("listen", listen))
	}
	switch {
	case open && !asks:
		log.Warn("everybody who reaches the API may read everything; set --auth-token-file or --tls-client-ca", zap.String("listen", listen))
	case open && s.Server == nil:
		log.Warn("tokens and state are sent unencrypted over the network; set --tls-cert and --tls-key", zap.String("listen", listen))
	}
	if s.Server == nil {
		return
	}
	if end := s.Server.Certificate().NotAfter; time.Until(end) < expiresSoon {
		log.Warn("certificate expires soon or has expired, renew it", zap.Time("not_after", end))
	}
	if err := s.Server.CheckAsClient(); err != nil {
		log.Warn("other nodes would reject this node's certificate, so nothing can be forwarded to them", zap.Error(err))
	}
}

// aliveTimeout is how long a process may take to answer. If the process has ended but its
// machine is up, the connection is refused at once.
const aliveTimeout = time.Second

// stillAlive asks the process that published r whether it is alive. A disabled node
// publishes no instance: then the node that answers must have that id and must not be this
// process, which may listen at the address of the one before it.
func (d *daemon) stillAlive(ctx context.Context, r driver.Record) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	c, err := client.At(r.URI, client.Credentials{TLS: d.secured.Peers})
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
