package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// maxProblem bounds what is read of an answer that is no success.
const maxProblem = 64 << 10

// errWantsTLS is the ErrTrust of a server that is asked without TLS.
var errWantsTLS = fmt.Errorf("%w: it speaks TLS and not plain HTTP: write https:// for http://", ErrTrust)

// fromNode reports whether an answer is one of this API's. No node redirects.
func (t *attempt) fromNode(resp *http.Response) bool {
	return resp.Header.Get(wire.HeaderNode) != "" && (resp.StatusCode < 300 || resp.StatusCode >= 400)
}

// problem is the error that an answer is which is no success of a node's.
func (t *attempt) problem(ctx context.Context, resp *http.Response, body []byte) error {
	var p wire.Problem
	switch {
	case wantsTLS(resp, body):
		return fmt.Errorf("%s: %w", t.server, errWantsTLS)
	case !t.fromNode(resp):
		return t.request.noAnswer(t.notNode(ctx, resp))
	case json.Unmarshal(body, &p) == nil && p.Status == resp.StatusCode:
		return &p
	default:
		return wire.NewProblem(resp.StatusCode, "", fmt.Sprintf("%s: %.200q", resp.Status, body))
	}
}

// wantsTLS reports whether a server has refused to read a request that came without TLS.
func wantsTLS(resp *http.Response, body []byte) bool {
	return resp.StatusCode == http.StatusBadRequest && resp.Header.Get(wire.HeaderNode) == "" &&
		(bytes.Contains(body, []byte("HTTP request to an HTTPS server")) || bytes.Contains(body, []byte("HTTP request was sent to HTTPS port")))
}

// notNode tells who has answered that is no node, and how. Nothing of what it has sent
// is shown but what says who it is.
func (t *attempt) notNode(ctx context.Context, resp *http.Response) error {
	text := fmt.Sprintf("%s answered %.60q", t.server, resp.Status)
	if kind := resp.Header.Get("Content-Type"); kind != "" {
		text += fmt.Sprintf(", %.60q", kind)
	}
	if by := resp.Header.Get("Server"); by != "" {
		text += fmt.Sprintf(", as %.60q", by)
	}
	switch to := resp.Header.Get("Location"); {
	case resp.StatusCode < 400 && to != "":
		text += fmt.Sprintf(", which sends elsewhere, to %.200q: redirects are not followed, name a node's own address with --server", to)
	case resp.StatusCode == http.StatusNotFound && t.isEtcd(ctx):
		text += ": it is an etcd, a plane's store: name the address of a node with --server"
	default:
		text += ", without saying which node it is: see what listens there, or is in between, and name a node's own address with --server"
	}
	return fmt.Errorf("%w: %s", ErrNotNode, text)
}

// isEtcd asks what has answered whether it is an etcd. It is shown no token.
func (t *attempt) isEtcd(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	probe := &attempt{client: t.client, server: t.server, request: &Request{Method: http.MethodGet, Path: "/version"}, anonymous: true}
	resp, err := probe.send(ctx)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var version struct {
		Server string `json:"etcdserver"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return err == nil && json.Unmarshal(body, &version) == nil && version.Server != ""
}
