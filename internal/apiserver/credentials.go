// This file reads the files with which the API proves what it is, and with which its callers are
// checked.

package apiserver

import (
	"errors"
	"fmt"
	"net/url"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
)

// Files name what the API presents to callers and what it requires of them. Each file may
// change while the API is served; see package credentials.
type Files struct {
	Cert, Key string // of the API, also shown to other nodes; empty means plain HTTP
	ClientCA  string // CAs of the client certificates that callers must have; empty means none
	CA        string // CAs of the other nodes' certificates; empty means ClientCA, else the system's
	Tokens    string // tokens that callers may use; empty means none
	// NoLoopback removes the trust in callers over loopback.
	NoLoopback bool
}

// Check reports settings that do not go together, by the flags' names. advertised is the URL of
// the API; empty means that it is not known.
func (f *Files) Check(advertised string) error {
	var err error
	if (f.Cert == "") != (f.Key == "") {
		err = errors.New("tls-cert and tls-key go together: give both")
	}
	if f.ClientCA != "" && f.Cert == "" {
		err = errors.Join(err, errors.New("tls-client-ca: client certificates need an API with TLS: give --tls-cert and --tls-key"))
	}
	if u, parse := url.Parse(advertised); parse == nil && u.Scheme == "http" && f.Cert != "" {
		err = errors.Join(err, fmt.Errorf("advertise-url %q: with --tls-cert the API needs an https:// URL", advertised))
	}
	return err
}

// Controlled reports whether callers need credentials.
func (f *Files) Controlled() bool { return f.Tokens != "" || f.ClientCA != "" }

// Security is what [Files] contain.
type Security struct {
	Server *credentials.ServerTLS // nil: plain HTTP
	Peers  *credentials.ClientTLS
	Access httpapi.Access
}

// Open reads the files. The error is a [credentials.ErrUnusable].
func (f *Files) Open(log *zap.Logger) (Security, error) {
	c := Security{Access: httpapi.Access{Certificates: f.ClientCA != "", NoLoopback: f.NoLoopback}}
	var err error
	if f.Cert != "" {
		if c.Server, err = credentials.OpenServer(f.Cert, f.Key, f.ClientCA, log); err != nil {
			return c, err
		}
	}
	trusted := f.CA
	if trusted == "" {
		trusted = f.ClientCA
	}
	if c.Peers, err = credentials.OpenClient(f.Cert, f.Key, trusted, log); err != nil {
		return c, err
	}
	if f.Tokens != "" {
		tokens, err := credentials.OpenTokens(f.Tokens, log)
		if err != nil {
			return c, err
		}
		c.Access.Tokens = tokens
	}
	return c, nil
}
