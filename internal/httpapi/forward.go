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
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// masterTimeout is how long a write waits for a master, in all.
	masterTimeout = 2 * time.Second
	// ownCopyTimeout is how long a hot node that has forwarded a write waits for
	// its own copy to show it, so that its client reads what it wrote.
	ownCopyTimeout = time.Second
	// forwardTimeout bounds a forwarded request, and supersededTimeout the wait for the
	// answer of a master that has had a successor since: it is frozen or cut off.
	forwardTimeout    = time.Minute
	supersededTimeout = 5 * time.Second
	// retryInterval is the least time between two tries to find the master.
	retryInterval = 20 * time.Millisecond
)

// forwarder carries writes out where the master is.
type forwarder struct {
	server    *Server
	base      *http.Transport
	transport http.RoundTripper // what is direct, and what comes before it
	clientLog *log.Logger       // for what goes wrong with a client as it is answered
}

func newForwarder(s *Server) *forwarder {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // nodes reach each other directly
	t.DialContext = (&net.Dialer{Timeout: masterTimeout}).DialContext
	peers := s.cfg.Peers
	if peers == nil {
		peers = new(credentials.Client)
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

// runAtMaster runs local on the master: here, or on the node that is, with the same
// request. A request of the kind that was not applied is tried again while the
// plane changes its master; one whose answer is lost is not.
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
			if !errors.Is(err, coordinator.ErrNotMaster) {
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

// notForwarded refuses a write that is not to be forwarded, and names the master.
func (f *forwarder) notForwarded(w http.ResponseWriter) error {
	p := f.server.node.Glimpse()
	master, ok := p.Master()
	if !ok || master.ID == f.server.node.ID() {
		return coordinator.ErrNoMaster
	}
	w.Header().Set("Location", master.URI)
	return fmt.Errorf("%w: %s is master", wire.ErrStayed, master.ID)
}

// errNotApplied is why a forwarded request can be sent again: it was not applied.
var errNotApplied = errors.New("not applied by the node it was sent to")

// streamToMaster runs local on the master, here or on the node that is, with a body that is too
// long to be kept. It is passed on once, as it comes, so nothing can be tried again.
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
	if master.ID == f.server.node.ID() { // by now
		return local(w, r)
	}
	err = f.proxy(r.Context(), w, r, master, func(*http.Request) {})
	if errors.Is(err, errNotApplied) {
		return fmt.Errorf("%w: the plane is changing its master", coordinator.ErrNoMaster)
	}
	return err
}

// send forwards the request once, with a body that is at hand.
func (f *forwarder) send(w http.ResponseWriter, r *http.Request, body []byte, master coordinator.Member) error {
	ctx, cancel := context.WithTimeout(r.Context(), forwardTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.NoBody // it was read, and each try sends it anew
	return f.proxy(ctx, w, r, master, func(out *http.Request) {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.ContentLength = int64(len(body))
	})
}

// proxy forwards the request once; fill makes its body.
func (f *forwarder) proxy(ctx context.Context, w http.ResponseWriter, r *http.Request, master coordinator.Member, setBody func(out *http.Request)) error {
	if err := f.server.checkStale(r); err != nil { // it may have waited for the master
		return err
	}
	target, err := url.Parse(master.URI)
	if err != nil || target.Host == "" {
		return fmt.Errorf("%w: master %s advertises no address: %.100q", coordinator.ErrNoMaster, master.ID, master.URI)
	}
	if r.TLS != nil && target.Scheme != "https" {
		return fmt.Errorf("%w: master %s advertises %.100q, and what has come over TLS is not passed on without: start it with --tls-cert and --tls-key", coordinator.ErrNoMaster, master.ID, master.URI)
	}
	deadline, _ := ctx.Deadline() // zero without one
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { f.cancelWhenSuperseded(ctx, cancel, master.Term) })
	var sent, incomplete atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
		// Nobody acts on a part of a request: a master that closes the connection meanwhile,
		// as one does that does not trust this node, has not carried it out.
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

// cancelWhenSuperseded ends the wait for a master that has been succeeded. It returns when the
// wait is over, one way or the other.
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

// received looks at the master's answer before it is passed on.
func (f *forwarder) checkAnswer(ctx context.Context, sent http.Header, resp *http.Response) error {
	declined, err := notMaster(resp)
	switch {
	case err != nil:
		return err
	case declined:
		return errNotApplied
	case isForeign(resp):
		return fmt.Errorf("what answers at its address is no node: %s", resp.Status)
	}
	rev, err := strconv.ParseInt(resp.Header.Get(wire.HeaderRevision), 10, 64)
	if err == nil && resp.StatusCode < 300 && f.server.node.State().Hot() {
		// Late is not wrong: the write is stored, this copy will show it.
		_ = f.server.waitRevision(ctx, rebind.Revision(rev), ownCopyTimeout)
	}
	for name := range resp.Header {
		sent.Del(name) // what the master says of its answer stands in its place
	}
	return nil
}

// isForeign reports whether an answer is none of this API's: somebody else answers there, a
// proxy for one. Nodes of the first version do not name themselves in each answer.
func isForeign(resp *http.Response) bool {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return true
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.Header.Get(wire.HeaderNode) == "" && (err != nil || kind != "application/json" && kind != wire.ProblemType)
}

// notMaster reports whether the node that was taken for the master has not carried
// the request out because it does not lead: no more, or not yet. The body stays
// to be read.
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

// runAtWriter runs local, which changes a plane without a term, on a node whose mode writes
// such keys: here if it does. A hot_backup node and one that is out of the plane write
// nothing of the plane's, and etcd may well refuse it to them: they pass the request
// on, to the master or, without one, to another that could lead.
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
	p, _ := f.server.node.Plane(r.Context()) // or what was last seen of it
	for _, m := range writerNodes(&p) {
		err := f.send(w, r, body, m)
		if !errors.Is(err, errNotApplied) && !errors.Is(err, coordinator.ErrNoMaster) {
			return err
		}
	}
	return fmt.Errorf("%w: mode %s writes none of the plane's keys, and no node answers that does: start one that could lead", coordinator.ErrNoMaster, st.Mode)
}

// writerNodes are the nodes that change a plane for an operator: the master first.
func writerNodes(p *coordinator.Plane) []coordinator.Member {
	var found []coordinator.Member
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
