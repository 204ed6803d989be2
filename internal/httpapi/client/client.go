// Package client calls the API for the operator's commands. Its errors tell apart what a caller
// has to know: a refusal, which is a [wire.Problem]; no node reached, so that nothing happened;
// a node that is not trusted or does not trust the caller, with the same outcome; an answer
// that does not come from a node; and a lost answer, after which a write may or may not have
// happened.
//
// This file has the client and one attempt at one server.
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
	"time"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Errors of a request that no node has answered.
var (
	// ErrUnreachable is returned if no node was reached.
	ErrUnreachable = errors.New("no node reached")
	// ErrTrust is returned if node and client do not trust each other's certificates, or one of
	// them does not speak TLS.
	ErrTrust = credentials.ErrTrust
	// ErrLost is returned if the request was sent and no readable answer came.
	ErrLost = errors.New("no answer")
	// ErrNotNode is returned if the answer did not come from a node but from a proxy, a
	// redirect or another program.
	ErrNotNode = errors.New("no node answers there")
	// ErrUnknown is returned, together with an ErrLost or an ErrNotNode, for a request that
	// changes something.
	ErrUnknown = errors.New("outcome unknown: it may have taken effect, check before you try again")
)

// Client tries one node after the other until one answers. It follows no redirects and uses no
// proxy.
type Client struct {
	servers []*url.URL
	last    atomic.Int64 // index of the server that has answered last
	http    *http.Client
	token   *credentials.ClientToken
}

// Credentials are what a client shows to nodes, and which CAs it trusts. The zero value shows
// nothing and trusts the system's CAs.
type Credentials struct {
	TLS   *credentials.ClientTLS
	Token *credentials.ClientToken
}

// New returns a client for a list of servers, see [ParseServers]. With a token, all servers
// have to be https:// or none: a token is not shown with TLS to one server and without to
// another.
func New(servers string, shown Credentials) (*Client, error) {
	parsed, err := ParseServers(servers)
	if err != nil {
		return nil, err
	}
	for _, s := range parsed {
		if shown.Token != nil && s.Scheme != parsed[0].Scheme {
			return nil, fmt.Errorf("servers %q: with a token use https:// for all of them or for none: it is not sent over TLS to one server and without TLS to another", servers)
		}
	}
	return newClient(parsed, shown), nil
}

// At returns a client for the one node at a URL, as in the node's record.
func At(uri string, shown Credentials) (*Client, error) {
	server, err := parseServer(uri)
	if err != nil {
		return nil, err
	}
	return newClient([]*url.URL{server}, shown), nil
}

func newClient(servers []*url.URL, shown Credentials) *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	if shown.TLS == nil {
		shown.TLS = new(credentials.ClientTLS)
	}
	t.DialTLSContext = shown.TLS.DialTLS
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{servers: servers, http: &http.Client{Transport: t, CheckRedirect: stay}, token: shown.Token}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is one request to the API.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	// Upload is a body that is streamed, instead of Body.
	Upload io.Reader
	// ReadOnly marks a request that changes nothing although its method usually does.
	ReadOnly bool
	// Probe marks a health check: 503 is an answer like any other, and no other node is asked.
	Probe bool
	// OnProgress, if not nil, is called when the node says that it is still working.
	OnProgress func()
}

// isWrite reports whether the request may change something.
func (r *Request) isWrite() bool { return r.Method != http.MethodGet && !r.ReadOnly }

// noAnswer returns the error for a request that was sent and then failed with err instead of
// getting an answer from a node.
func (r *Request) noAnswer(err error) error {
	if r.isWrite() {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// Answer is a successful answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Server is the URL of the node that answered.
	Server string

	request *Request
}

// Decode decodes the answer's JSON object into v. If the body is not a JSON object it was not
// sent by this API, and the error is an [ErrLost].
func (a *Answer) Decode(v any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("{")) {
		return a.Incomplete("it is not a JSON object") // null would decode as an object without fields
	}
	if err := json.Unmarshal(a.Body, v); err != nil {
		return a.Incomplete(err.Error())
	}
	return nil
}

// Incomplete returns the error for an answer that lacks something it has to have. Whatever its
// status, the outcome of the request is then not known.
func (a *Answer) Incomplete(why string) error {
	return a.request.noAnswer(fmt.Errorf("%w: %s answered %d with an invalid body: %s", ErrLost, a.Server, a.Status, why))
}

// Stream is a successful answer whose body is still to be read. Close the body.
type Stream struct {
	Status int
	Header http.Header
	Body   io.ReadCloser
	Server string
}

// maxAnswer limits an answer that is read as a whole. No node sends a longer one.
const maxAnswer = 256 << 20

// Do sends one request. The error is a [*wire.Problem], or wraps [ErrUnreachable], [ErrTrust],
// [ErrLost] or [ErrNotNode].
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	s, err := c.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.Body.Close()
	body, err := io.ReadAll(io.LimitReader(s.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, r.noAnswer(fmt.Errorf("%w: %s broke off: %w", ErrLost, s.Server, err))
	}
	return &Answer{Status: s.Status, Header: s.Header, Body: body, Server: s.Server, request: &r}, nil
}

// Get requests a path and decodes the answer into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	return answer.Decode(v)
}

// Identity asks which process of which node answers, whatever its state. It needs and sends no
// credentials.
func (c *Client) Identity(ctx context.Context) (node, instance string, err error) {
	t := &attempt{client: c, server: c.servers[0], request: &Request{Method: http.MethodGet, Path: wire.PathLive}, anonymous: true}
	resp, err := t.send(ctx)
	if err != nil {
		return "", "", err
	}
	return resp.Header.Get(wire.HeaderNode), resp.Header.Get(wire.HeaderInstance), resp.Body.Close()
}

// attempt is one request to one server.
type attempt struct {
	client    *Client
	server    *url.URL
	request   *Request
	anonymous bool        // send no token
	sent      atomic.Bool // the server may have received it
}

// send sends the request and returns the answer, whatever it is.
func (t *attempt) send(ctx context.Context) (*http.Response, error) {
	r := t.request
	target := *t.server
	target.Path = strings.TrimSuffix(target.Path, "/") + r.Path
	target.RawQuery = r.Query.Encode()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { t.sent.Store(true) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if r.OnProgress != nil {
				r.OnProgress()
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
	if deadline, ok := ctx.Deadline(); ok && r.isWrite() {
		req.Header.Set(wire.HeaderDeadline, deadline.UTC().Format(time.RFC3339Nano))
	}
	if t.client.token != nil && !t.anonymous {
		req.Header.Set("Authorization", "Bearer "+t.client.token.Text())
	}
	resp, err := t.client.http.Do(req)
	if err != nil {
		return nil, t.sendError(err)
	}
	return resp, nil
}

// sendError returns the error for a request that got no answer.
func (t *attempt) sendError(err error) error {
	sent := t.sent.Load()
	distrust := credentials.Explain(err, credentials.Flags{CA: "--cacert", Cert: "--cert"})
	switch {
	// After a request was sent, only a refused certificate means that it was not read.
	case distrust != nil && (!sent || strings.Contains(err.Error(), "certificate")):
		return fmt.Errorf("%s: %w", t.server, distrust)
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // a TLS alert
		return fmt.Errorf("%s: %w", t.server, errWantsTLS)
	case sent:
		return t.request.noAnswer(fmt.Errorf("%w: %w", ErrLost, err))
	default:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
}

// JSON returns a request with a JSON body.
func JSON(method, path string, v any) (Request, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Request{}, fmt.Errorf("encode request: %w", err)
	}
	return Request{Method: method, Path: path, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}, nil
}
