// This file tells what answered if the answer is not a success of a node.

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

// maxProblem limits how much is read of an answer that is not a success.
const maxProblem = 64 << 10

// errWantsTLS is the ErrTrust for a server that was asked without TLS.
var errWantsTLS = fmt.Errorf("%w: it speaks TLS and not plain HTTP: write https:// for http://", ErrTrust)

// fromNode reports whether an answer comes from this API. Nodes never redirect.
func (t *attempt) fromNode(resp *http.Response) bool {
	return resp.Header.Get(wire.HeaderNode) != "" && (resp.StatusCode < 300 || resp.StatusCode >= 400)
}

// problem returns the error for an answer that is not a success of a node.
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

// wantsTLS reports whether a server refused the request because it came without TLS.
func wantsTLS(resp *http.Response, body []byte) bool {
	return resp.StatusCode == http.StatusBadRequest && resp.Header.Get(wire.HeaderNode) == "" &&
		(bytes.Contains(body, []byte("HTTP request to an HTTPS server")) || bytes.Contains(body, []byte("HTTP request was sent to HTTPS port")))
}

// notNode describes what answered instead of a node. It shows only those parts of the answer
// that help to identify the program.
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

// isEtcd asks the server whether it is an etcd, without a token.
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
