// Package client talks to the API of a plane's nodes for the operator's commands. It
// tells apart what a caller has to tell apart: a refusal, which is a [wire.Problem]; a
// node that could not be reached, so that nothing happened; one that was reached and is
// not to be trusted, or does not trust the caller, with the same outcome; something that
// answers and is no node; and an answer that was lost, after which a write may or may not
// have happened.
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
	// ErrUnreachable is returned when no node was reached.
	ErrUnreachable = errors.New("no node reached")
	// ErrTrust is returned when node and client do not trust each other's certificates,
	// or one of them does not speak TLS.
	ErrTrust = credentials.ErrTrust
	// ErrLost is returned when the request was sent and no answer came that can be read.
	ErrLost = errors.New("no answer")
	// ErrNotNode is returned when what has answered is no node: a proxy, a redirect,
	// another program.
	ErrNotNode = errors.New("no node answers there")
	// ErrUnknown is returned, with an ErrLost or an ErrStranger, for a request that changes
	// something.
	ErrUnknown = errors.New("outcome unknown: it may have taken effect, look before you try again")
)

// Client talks to one node after the other, until one answers. It follows no redirect
// and asks no proxy.
type Client struct {
	servers []*url.URL
	last    atomic.Int64 // the place of the server that has answered last
	http    *http.Client
	token   *credentials.ClientToken
}

// Credentials are what a client shows to nodes, and whom it trusts to be one. The zero
// value shows nothing and trusts the CAs of the system.
type Credentials struct {
	TLS   *credentials.Client
	Token *credentials.ClientToken
}

// New makes a client for nodes as [ParseServers] takes them. A token that is for
// https:// is not shown without, so then all of them have to be.
func New(servers string, shown Credentials) (*Client, error) {
	parsed, err := ParseServers(servers)
	if err != nil {
		return nil, err
	}
	for _, s := range parsed {
		if shown.Token != nil && s.Scheme != parsed[0].Scheme {
			return nil, fmt.Errorf("servers %q: with a token use https:// for all of them or for none: it is not shown to one over TLS and to another without", servers)
		}
	}
	return newClient(parsed, shown), nil
}

// At makes a client for the one node at a URL, as its record tells it.
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
		shown.TLS = new(credentials.Client)
	}
	t.DialTLSContext = shown.TLS.DialTLS
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{servers: servers, http: &http.Client{Transport: t, CheckRedirect: stay}, token: shown.Token}
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
	// ReadOnly marks a request that changes nothing although its method is that of one
	// which does.
	ReadOnly bool
	// Probe marks a request that asks how a node is: its 503 is an answer as any other, and
	// is not asked of the next node.
	Probe bool
	// OnProgress, if it is not nil, is called when the node says that it is still at work.
	OnProgress func()
}

// isWrite reports whether the request changes something.
func (r *Request) isWrite() bool { return r.Method != http.MethodGet && !r.ReadOnly }

// noAnswer is what it means for the request that err has come in the place of a node's
// answer, after it was sent.
func (r *Request) noAnswer(err error) error {
	if r.isWrite() {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// Answer is an answer that is no problem.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Server is the URL of the node that has given it.
	Server string

	request *Request
}

// Decode reads the answer's JSON object into v. An answer that is none was not given by
// this API: the error is an [ErrLost].
func (a *Answer) Decode(v any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("{")) {
		return a.Incomplete("it is no JSON object") // null would be taken for one without fields
	}
	if err := json.Unmarshal(a.Body, v); err != nil {
		return a.Incomplete(err.Error())
	}
	return nil
}

// Incomplete is the error of an answer that lacks what it has to carry. Whatever its
// status says, what was asked for is then not known to have happened.
func (a *Answer) Incomplete(why string) error {
	return a.request.noAnswer(fmt.Errorf("%w: %s answered %d with what is no such answer: %s", ErrLost, a.Server, a.Status, why))
}

// Stream is an answer that is no problem, to be read as it comes. Close its body.
type Stream struct {
	Status int
	Header http.Header
	Body   io.ReadCloser
	Server string
}

// maxAnswer bounds an answer that is read whole, which no node exceeds.
const maxAnswer = 256 << 20

// Do sends one request. The error is a [*wire.Problem], or wraps [ErrUnreachable],
// [ErrTrust], [ErrLost] or [ErrStranger].
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

// Get reads a path into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	return answer.Decode(v)
}

// Identity asks which process of which node answers, however it is. That needs no
// credentials, and shows none.
func (c *Client) Identity(ctx context.Context) (node, instance string, err error) {
	t := &attempt{client: c, server: c.servers[0], request: &Request{Method: http.MethodGet, Path: wire.PathLive}, anonymous: true}
	resp, err := t.send(ctx)
	if err != nil {
		return "", "", err
	}
	return resp.Header.Get(wire.HeaderNode), resp.Header.Get(wire.HeaderInstance), resp.Body.Close()
}

// try is one request to one server.
type attempt struct {
	client    *Client
	server    *url.URL
	request   *Request
	anonymous bool        // it shows no token
	sent      atomic.Bool // it may have arrived
}

// send sends the request and returns whatever the answer is.
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

// sendError tells what an error means for a request that got no answer.
func (t *attempt) sendError(err error) error {
	sent := t.sent.Load()
	distrust := credentials.Explain(err, credentials.Flags{CA: "--cacert", Cert: "--cert"})
	switch {
	// Once a request is sent only the refusal of a certificate tells that it was not read.
	case distrust != nil && (!sent || strings.Contains(err.Error(), "certificate")):
		return fmt.Errorf("%s: %w", t.server, distrust)
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // an alert of TLS
		return fmt.Errorf("%s: %w", t.server, errWantsTLS)
	case sent:
		return t.request.noAnswer(fmt.Errorf("%w: %w", ErrLost, err))
	default:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
}

// JSON makes a request with a JSON body.
func JSON(method, path string, v any) (Request, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Request{}, fmt.Errorf("encode request: %w", err)
	}
	return Request{Method: method, Path: path, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}, nil
}
