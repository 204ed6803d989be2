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
)

// shownFiles are the files of what a command shows to nodes, and whom it trusts.
type shownFiles struct{ token, ca, cert, key string }

func (s *shownFiles) flags(f *pflag.FlagSet) {
	f.StringVar(&s.token, "token-file", "", "file of the token to show")
	f.StringVar(&s.ca, "cacert", "", "file of the CAs to trust (default: those of the system)")
	f.StringVar(&s.cert, "cert", "", "file of the client certificate to show")
	f.StringVar(&s.key, "key", "", "file of its key")
}

// read reads the files that are named.
func (s *shownFiles) read() (shown client.Credentials, err error) {
	if (s.cert == "") != (s.key == "") {
		return shown, usageError{errors.New("cert and key go together: give --cert and --key")}
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

// clientAt makes a client for another node than the one that was asked, at the address
// that its record says. Who asks over TLS does not show that node anything without.
func (o *operator) clientAt(asked, uri string) (*client.Client, error) {
	from, errFrom := url.Parse(asked)
	to, errTo := url.Parse(uri)
	if err := errors.Join(errFrom, errTo); err != nil {
		return nil, usageError{err}
	}
	if from.Scheme == "https" && to.Scheme != "https" {
		return nil, usageError{fmt.Errorf("the node advertises %q, which is no https:// address: ask it there with --server", uri)}
	}
	c, err := client.At(uri, o.shown)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// reach makes a client for the node of a record, if it is that process which answers at
// its address: an address can be each machine's own, or have a new owner. Only then is it
// shown a token.
func (o *operator) reach(ctx context.Context, asked, uri, id, instance string) (*client.Client, error) {
	c, err := o.clientAt(asked, uri)
	if err != nil {
		return nil, err
	}
	node, process, err := c.Identity(ctx)
	switch {
	case err != nil:
	case node == "":
		err = fmt.Errorf("%w: what answers at %s does not say which node it is", client.ErrNotNode, uri)
	case node != id || process != instance:
		err = fmt.Errorf("%w: another process answers at %s, of node %s: see its --advertise-url, or ask it with --server", client.ErrNotNode, uri, node)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
