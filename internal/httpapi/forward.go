// This file runs a request on the node that can carry it out: here, or by forwarding it once.

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// masterTimeout is how long a write waits for a master in all.
	masterTimeout = 2 * time.Second
	// ownCopyTimeout is how long a hot node that forwarded a write waits until its own copy
	// shows it, so that the client reads what it wrote.
	ownCopyTimeout = time.Second
	// forwardTimeout limits a forwarded request. supersededTimeout limits the wait for the
	// answer of a master that has been succeeded meanwhile and may be frozen or cut off.
	forwardTimeout    = time.Minute
	supersededTimeout = 5 * time.Second
	// retryInterval is the least time between two attempts to find the master.
	retryInterval = 20 * time.Millisecond
)

// forwarder forwards requests to other nodes.
type forwarder struct {
	server    *Server
	base      *http.Transport
	transport http.RoundTripper // base, and what Config.Transport wraps around it
	clientLog *log.Logger       // for trouble with the client while it is answered
}

func newForwarder(s *Server) *forwarder {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // nodes reach each other directly
	t.DialContext = (&net.Dialer{Timeout: masterTimeout}).DialContext
	peers := s.cfg.Peers
	if peers == nil {
		peers = new(credentials.ClientTLS)
	}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, masterTimeout)
		defer cancel()
		return peers.DialTLS(ctx, network, address)
	}
	t.MaxIdleConnsPerHost = 64
	return &forwarder{server: s, base: t, transport: s.cfg.Transport(t), clientLog: log.New(debugLog{s.log}, "", 0)}
}

func (f *forwarder) close() { f.base.CloseIdleConnections() }

// runAtMaster runs local if this node is the master, and forwards the request to the master
// otherwise. body is the request's body, which the caller has read. While the plane changes its
// master, a request that was not applied is tried again; one whose answer was lost is not.
func (f *forwarder) runAtMaster(w http.ResponseWriter, r *http.Request, body []byte, local handler) error {
	wait, cancel := context.WithTimeout(r.Context(), masterTimeout)
	defer cancel()
	noForward := r.Header.Get(wire.HeaderForward) == wire.ForwardNever
	for {
		if err := f.server.checkStale(r); err != nil {
			return err
		}
		if f.server.node.State() == modes.StateMaster {
			err := local(w, r)
			if !errors.Is(err, coordinator.ErrNotMaster) || errors.Is(err, driver.ErrFenced) {
				return err
			}
		}
		if noForward {
			return f.notForwarded(w)
		}
		master, err := f.server.node.WaitMaster(wait)
		if err != nil {
			return fmt.Errorf("%w within %s", coordinator.ErrNoMaster, masterTimeout)
		}
		if master.ID != f.server.node.ID() {
			err := f.send(w, r, body, master)
			if !errors.Is(err, errNotApplied) {
				return err
			}
		}
		select {
		case <-time.After(retryInterval):
		case <-wait.Done():
			return fmt.Errorf("%w: the plane is changing its master", coordinator.ErrNoMaster)
		}
	}
}

// notForwarded refuses a write that must not be forwarded, and names the master.
func (f *forwarder) notForwarded(w http.ResponseWriter) error {
	p := f.server.node.CachedPlane()
	master, ok := p.Master()
	if !ok || master.ID == f.server.node.ID() {
		return coordinator.ErrNoMaster
	}
	if master.URI == "" {
		return noAddress(master)
	}
	w.Header().Set("Location", master.URI)
	return fmt.Errorf("%w: %s is master", wire.ErrStayed, master.ID)
}

// errNotApplied is returned by proxy if the request was not applied, so that it can be sent
// again.
var errNotApplied = errors.New("not applied by the node it was sent to")

// noAddress is the error for a request that would have to be sent to a node that advertises no
// address. The request was not applied.
func noAddress(m driver.Member) error {
	return fmt.Errorf("%w: node %s %s", wire.ErrNoAddress, m.ID, wire.NoAddress)
}

// streamToMaster is runAtMaster for a body that is too large for memory. The body is forwarded
// as it arrives, so there is only one attempt.
func (f *forwarder) streamToMaster(w http.ResponseWriter, r *http.Request, local handler) error {
	if err := f.server.checkStale(r); err != nil {
		return err
	}
	if f.server.node.State() == modes.StateMaster {
		return local(w, r)
	}
	if r.Header.Get(wire.HeaderForward) == wire.ForwardNever {
		return f.notForwarded(w)
	}
	wait, cancel := context.WithTimeout(r.Context(), masterTimeout)
	defer cancel()
	master, err := f.server.node.WaitMaster(wait)
	if err != nil {
		return fmt.Errorf("%w within %s", coordinator.ErrNoMaster, masterTimeout)
	}
	if master.ID == f.server.node.ID() { // this node became master meanwhile
		return local(w, r)
	}
	err = f.proxy(r.Context(), w, r, master, func(*http.Request) {})
	if errors.Is(err, errNotApplied) {
		return fmt.Errorf("%w: the plane is changing its master", coordinator.ErrNoMaster)
	}
	return err
}

// send forwards the request once with a body that is in memory.
func (f *forwarder) send(w http.ResponseWriter, r *http.Request, body []byte, master driver.Member) error {
	ctx, cancel := context.WithTimeout(r.Context(), forwardTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.NoBody // it has been read; setBody makes a new one for each attempt
	return f.proxy(ctx, w, r, master, func(out *http.Request) {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.ContentLength = int64(len(body))
	})
}

// proxy forwards the request once; setBody sets the body of the outgoing request.
func (f *forwarder) proxy(ctx context.Context, w http.ResponseWriter, r *http.Request, master driver.Member, setBody func(out *http.Request)) error {
	if err := f.server.checkStale(r); err != nil { // the request may have waited for the master
		return err
	}
	if master.URI == "" {
		return noAddress(master)
	}
	target, err := url.Parse(master.URI)
	if err != nil || target.Host == "" {
		return fmt.Errorf("%w: node %s advertises %.100q, which is no address: set Config.URI / --advertise-url", wire.ErrNoAddress, master.ID, master.URI)
	}
	if r.TLS != nil && target.Scheme != "https" {
		return fmt.Errorf("%w: master %s advertises %.100q, and a request that came over TLS is not forwarded without TLS: start that node with --tls-cert and --tls-key", coordinator.ErrNoMaster, master.ID, master.URI)
	}
	deadline, _ := ctx.Deadline() // zero if there is none
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { f.cancelWhenSuperseded(ctx, cancel, master.Term) })
	var sent, incomplete atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
		// A node never acts on a part of a request. If a master closes the connection before it
		// has all of it, for example because it does not trust this node, it has not applied
		// it.
		WroteRequest: func(info httptrace.WroteRequestInfo) { incomplete.Store(info.Err != nil) },
	})
	var failure error
	rp := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			setBody(p.Out)
		},
		Transport:      f.transport,
		ModifyResponse: func(resp *http.Response) error { return f.checkAnswer(ctx, w.Header(), resp) },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
		ErrorLog:       f.clientLog,
	}
	in := r.WithContext(traced)
	in.Header = forwardedHeader(r, deadline) // before the proxy looks at it, which may refuse it
	rp.ServeHTTP(w, in)
	distrust := credentials.Explain(failure, credentials.Flags{CA: "--tls-ca", Cert: "--tls-cert"})
	switch {
	case failure == nil, errors.Is(failure, errNotApplied):
		return failure
	case distrust != nil:
		return fmt.Errorf("%w: master %s at %s: %w", coordinator.ErrNoMaster, master.ID, master.URI, distrust)
	case !sent.Load(), incomplete.Load():
		f.server.log.Debug("master not reached", zap.String("master", master.ID), zap.Error(failure))
		return errNotApplied
	default:
		return fmt.Errorf("%w: the connection to master %s was lost: %w", rebind.ErrUnknown, master.ID, failure)
	}
}

// cancelWhenSuperseded cancels the request some time after its master was succeeded. It returns
// when ctx ends.
func (f *forwarder) cancelWhenSuperseded(ctx context.Context, cancel context.CancelFunc, term int64) {
	if f.server.node.WaitSuccessor(ctx, term) != nil {
		return
	}
	select {
	case <-time.After(supersededTimeout):
		cancel()
	case <-ctx.Done():
	}
}

// checkAnswer looks at the master's answer before it is passed on. sent are the headers that
// this node has set so far.
func (f *forwarder) checkAnswer(ctx context.Context, sent http.Header, resp *http.Response) error {
	declined, err := notMaster(resp)
	switch {
	case err != nil:
		return err
	case declined:
		return errNotApplied
	case isForeign(resp):
		return fmt.Errorf("what answers at the master's address is not a node: %s", resp.Status)
	}
	rev, err := strconv.ParseInt(resp.Header.Get(wire.HeaderRevision), 10, 64)
	if err == nil && resp.StatusCode < 300 && f.server.node.State().Hot() {
		// If the copy is late that is no error: the write is stored, and the copy will show it.
		_ = f.server.waitRevision(ctx, rebind.Revision(rev), ownCopyTimeout)
	}
	for name := range resp.Header {
		sent.Del(name) // the master's value replaces it
	}
	return nil
}

// isForeign reports whether an answer did not come from a node: a proxy may answer at that
// address. Nodes of the first version do not name themselves in each answer.
func isForeign(resp *http.Response) bool {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return true
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.Header.Get(wire.HeaderNode) == "" && (err != nil || kind != "application/json" && kind != wire.ProblemType)
}

// notMaster reports whether the node refused the request because it is not the master, or not
// yet. The body can still be read afterwards.
func notMaster(resp *http.Response) (bool, error) {
	if resp.StatusCode != http.StatusServiceUnavailable {
		return resp.StatusCode == http.StatusMisdirectedRequest, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxControlBody))
	if err != nil {
		return false, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	var p wire.Problem
	return json.Unmarshal(body, &p) == nil && p.Type == wire.KindNoMaster, nil
}

// runAtWriter runs local, which changes keys of the plane that need no term, on a node whose
// mode may write them: here if possible. A hot_backup node and a node outside the plane must
// not write such keys, and etcd may refuse it to them. They forward the request to the master
// or, without one, to another node that could lead.
func (f *forwarder) runAtWriter(w http.ResponseWriter, r *http.Request, local handler) error {
	st := f.server.node.Status()
	if st.Mode.Promotable() || st.State == modes.StateMaster {
		return local(w, r)
	}
	if r.Header.Get(wire.HeaderForward) == wire.ForwardNever {
		return f.notForwarded(w)
	}
	body, err := readBody(w, r, maxControlBody)
	if err != nil {
		return err
	}
	p, _ := f.server.node.Plane(r.Context()) // after an error, as it was last seen
	var unreachable string
	for _, m := range writerNodes(&p) {
		err := f.send(w, r, body, m)
		if !errors.Is(err, errNotApplied) && !errors.Is(err, coordinator.ErrNoMaster) {
			return err
		}
		if errors.Is(err, wire.ErrNoAddress) {
			unreachable += fmt.Sprintf("; node %s %s", m.ID, wire.NoAddress)
		}
	}
	return fmt.Errorf("%w: mode %s writes none of the plane's keys, and no node answers that does: start one that could lead%s", coordinator.ErrNoMaster, st.Mode, unreachable)
}

// writerNodes returns the nodes that may change a plane for an operator, the master first.
func writerNodes(p *driver.Plane) []driver.Member {
	var found []driver.Member
	master, led := p.Master()
	if led {
		found = append(found, master)
	}
	for _, m := range p.Members {
		if m.Mode.Promotable() && (!led || m.ID != master.ID) {
			found = append(found, m)
		}
	}
	return found
}
