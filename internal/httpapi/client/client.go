// Package client talks to a node's API for the operator's commands. It tells
// apart what a caller has to tell apart: a refusal, which is a [wire.Problem]; a
// node that could not be reached, so that nothing happened; one that was reached and
// is not to be trusted, or does not trust the caller, with the same outcome; and an
// answer that was lost, after which a write may or may not have happened.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Errors of a request that got no answer.
var (
	// ErrUnreachable is returned when no node was reached.
	ErrUnreachable = errors.New("no node reached")
	// ErrTrust is returned when node and client do not trust each other's certificates,
	// or one of them does not speak TLS.
	ErrTrust = credentials.ErrTrust
	// ErrLost is returned when the request was sent and its answer did not come.
	ErrLost = errors.New("no answer")
)

// Client talks to one node.
type Client struct {
	base  *url.URL
	http  *http.Client
	token *credentials.ClientToken
}

// Credentials are what a client shows to nodes, and whom it trusts to be one. The zero
// value shows nothing and trusts the CAs of the system.
type Credentials struct {
	TLS   *credentials.Client
	Token *credentials.ClientToken
}

// New makes a client for the node at a URL such as http://127.0.0.1:7400.
func New(server string, shown Credentials) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("server %q: write it as http://host:port", server)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	if shown.TLS == nil {
		shown.TLS = new(credentials.Client)
	}
	t.DialTLSContext = shown.TLS.DialTLS
	return &Client{base: base, http: &http.Client{Transport: t}, token: shown.Token}, nil
}

// Close ends the connections that nobody uses any more.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is one request to the API.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	// Upload is a body that is sent as it is read, in the place of Body.
	Upload io.Reader
	// Alive, if it is not nil, is called when the node says that it is still at work.
	Alive func()
}

// Answer is an answer that is no problem.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Decode reads the answer's JSON into v.
func (a *Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// Stream is an answer that is no problem, to be read as it comes. Close its body.
type Stream struct {
	Status int
	Header http.Header
	Body   io.ReadCloser
}

// Do sends one request. The error is a [*wire.Problem], or wraps [ErrUnreachable],
// [ErrTrust] or [ErrLost].
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	s, err := c.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.Body.Close()
	body, err := io.ReadAll(s.Body)
	if err != nil {
		return nil, lost(true, err)
	}
	return &Answer{Status: s.Status, Header: s.Header, Body: body}, nil
}

// Open is Do for an answer that may be long: its body is still to be read.
func (c *Client) Open(ctx context.Context, r Request) (*Stream, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return &Stream{Status: resp.StatusCode, Header: resp.Header, Body: resp.Body}, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, lost(true, err)
	}
	return nil, problem(resp, text)
}

// Identity asks which process of which node answers, however it is. That needs no
// credentials.
func (c *Client) Identity(ctx context.Context) (node, instance string, err error) {
	resp, err := c.send(ctx, Request{Method: http.MethodGet, Path: wire.PathLive})
	if err != nil {
		return "", "", err
	}
	return resp.Header.Get(wire.HeaderNode), resp.Header.Get(wire.HeaderInstance), resp.Body.Close()
}

// send sends one request and returns whatever the answer is.
func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	target := *c.base
	target.Path = strings.TrimSuffix(target.Path, "/") + r.Path
	target.RawQuery = r.Query.Encode()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if r.Alive != nil {
				r.Alive()
			}
			return nil
		},
	})
	var body io.Reader = bytes.NewReader(r.Body)
	if r.Upload != nil {
		body = r.Upload
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for key, values := range r.Header {
		req.Header[key] = values
	}
	if c.token != nil {
		req.Header.Set("Authorization", "Bearer "+c.token.Text())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, lost(sent.Load(), err)
	}
	return resp, nil
}

// lost tells what an error means for a request that got no answer.
func lost(sent bool, err error) error {
	if distrust := credentials.Explain(err, credentials.Flags{CA: "--cacert", Cert: "--cert"}); distrust != nil {
		return distrust
	}
	if sent {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// problem reads an error's body; what is not one of ours is told as it came.
func problem(resp *http.Response, body []byte) error {
	var p wire.Problem
	if json.Unmarshal(body, &p) == nil && p.Status == resp.StatusCode {
		return &p
	}
	if resp.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte("HTTP request to an HTTPS server")) {
		return fmt.Errorf("%w: it speaks TLS and not plain HTTP: write https:// for http://", ErrTrust)
	}
	return wire.NewProblem(resp.StatusCode, "", fmt.Sprintf("%s: %.200s", resp.Status, body))
}

// Get reads a path into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, v); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// JSON makes a request with a JSON body.
func JSON(method, path string, v any) (Request, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Request{}, fmt.Errorf("encode request: %w", err)
	}
	return Request{Method: method, Path: path, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}, nil
}
