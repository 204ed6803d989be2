// Credentials with which commands authenticate to nodes, and how a node is verified before
// it gets any.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// credentialFiles names the files with which a command proves who it is, and with which it
// verifies nodes.
type credentialFiles struct{ token, ca, cert, key string }

func (s *credentialFiles) flags(f *pflag.FlagSet) {
	f.StringVar(&s.token, "token-file", "", "file with the token to send")
	f.StringVar(&s.ca, "cacert", "", "file with the CAs to trust (default: those of the system)")
	f.StringVar(&s.cert, "cert", "", "file with the client certificate")
	f.StringVar(&s.key, "key", "", "file with the key of the client certificate")
}

// read reads the files that are given.
func (s *credentialFiles) read() (shown client.Credentials, err error) {
	if (s.cert == "") != (s.key == "") {
		return shown, usageError{errors.New("cert and key go together: give both --cert and --key")}
	}
	if shown.TLS, err = credentials.OpenClient(s.cert, s.key, s.ca, zap.NewNop()); err != nil {
		return shown, usageError{err}
	}
	if s.token != "" {
		if shown.Token, err = credentials.ReadToken(s.token); err != nil {
			return shown, usageError{err}
		}
	}
	return shown, nil
}

// clientAt makes a client for a node other than the one that was asked, at the address in
// its record. If the first node was asked over TLS, the other must be too: credentials are
// not sent without it.
func (o *operator) clientAt(asked, uri string) (*client.Client, error) {
	from, errFrom := url.Parse(asked)
	to, errTo := url.Parse(uri)
	if err := errors.Join(errFrom, errTo); err != nil {
		return nil, usageError{err}
	}
	if from.Scheme == "https" && to.Scheme != "https" {
		return nil, usageError{fmt.Errorf("the node advertises %q, which is not an https:// address: ask it there with --server", uri)}
	}
	c, err := client.At(uri, o.shown)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// errNoAddress is returned for a node to which nothing can be sent.
var errNoAddress = errors.New(wire.NoAddress)

// reach makes a client for the node of a record, after it has verified that the process of
// that record answers at its address: the address may be local to another machine or have a
// new owner. The token is sent only after that.
func (o *operator) reach(ctx context.Context, asked, uri, id, instance string) (*client.Client, error) {
	if uri == "" {
		return nil, usageError{fmt.Errorf("node %s %w", id, errNoAddress)}
	}
	c, err := o.clientAt(asked, uri)
	if err != nil {
		return nil, err
	}
	node, process, err := c.Identity(ctx)
	switch {
	case err != nil:
	case node == "":
		err = fmt.Errorf("%w: the server at %s does not say which node it is", client.ErrNotNode, uri)
	case node != id || process != instance:
		err = fmt.Errorf("%w: another process answers at %s, of node %s: see its --advertise-url, or ask it with --server", client.ErrNotNode, uri, node)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
