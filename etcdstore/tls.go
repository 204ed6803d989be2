package etcdstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/pemfile"
	"github.com/coordinator-ha/coordinator/internal/tlserror"
)

// This file secures the connections to etcd, and remembers why that failed.

// TLSFiles is a [Config.TLS] from PEM files, which it reads for each new connection, so that a
// file can be replaced while the store is open. If the files cannot be used it returns the
// error together with what they contained when they last could. ca holds the authorities that
// may have signed etcd's certificate, empty for the system's; cert and key are what this node
// presents to etcd, both empty for nothing.
func TLSFiles(ca, cert, key string) func() (*tls.Config, error) {
	var last atomic.Pointer[tls.Config]
	return func() (*tls.Config, error) {
		cfg, err := readTLS(ca, cert, key)
		if err != nil {
			return last.Load(), err
		}
		last.Store(cfg)
		return cfg, nil
	}
}

func readTLS(ca, cert, key string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := pemfile.Read(ca)
		if err == nil {
			cfg.RootCAs, err = pemfile.Pool(pemfile.File{Path: ca, Text: text})
		}
		if err != nil {
			return nil, fmt.Errorf("read certificates of authorities: %w", err)
		}
	}
	if cert == "" && key == "" {
		return cfg, nil
	}
	files := []pemfile.File{{Path: cert}, {Path: key}}
	for i := range files {
		var err error
		if files[i].Text, err = pemfile.Read(files[i].Path); err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
	}
	pair, err := pemfile.Pair(files[0], files[1])
	if err != nil {
		return nil, fmt.Errorf("read client certificate: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// handshakes secures connections with what the configuration says at that moment, and
// remembers which endpoints failed for reasons that do not go away by themselves: grpc tries
// those again for ever, and tells its callers only that they have waited.
type handshakes struct {
	credentials.TransportCredentials // for all but the handshake itself

	source    func() (*tls.Config, error)
	endpoints int
	log       *zap.Logger
	hopeless  context.Context // ends when every endpoint has failed
	giveUp    context.CancelFunc

	mu    sync.Mutex       // guards the fields below
	last  map[string]error // of each endpoint that was connected to: nil, or why it failed
	stale string           // why the configuration is an earlier one, empty if it is not
}

// newHandshakes returns nil if connections are not encrypted.
func newHandshakes(cfg *Config) *handshakes {
	if !cfg.secured() {
		return nil
	}
	h := &handshakes{
		TransportCredentials: credentials.NewTLS(nil), source: cfg.TLS,
		endpoints: len(cfg.Endpoints), log: cfg.Logger, last: make(map[string]error),
	}
	if h.source == nil {
		h.source = TLSFiles("", "", "")
	}
	h.hopeless, h.giveUp = context.WithCancel(context.Background())
	return h
}

// ClientHandshake secures one connection. endpoint is the host and port it is to.
func (h *handshakes) ClientHandshake(ctx context.Context, endpoint string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := h.source()
	if cfg == nil {
		h.note(endpoint, err)
		return nil, nil, err
	}
	h.noteStale(err)
	conn, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, endpoint, raw)
	if err != nil {
		why := handshakeError(err, cfg)
		if why == nil && hungUp(err) && identify(ctx, endpoint).etcd {
			why = tlserror.NoTLS(err, etcdPeer(cfg))
		}
		if why != nil {
			h.note(endpoint, why)
		}
		return nil, nil, err
	}
	return &firstRead{Conn: conn, tell: func(err error) {
		if why := handshakeError(err, cfg); why != nil || err == nil {
			h.note(endpoint, why)
		}
	}}, info, nil
}

// Clone returns h, which may be shared.
func (h *handshakes) Clone() credentials.TransportCredentials { return h }

// note remembers how the last handshake with an endpoint went.
func (h *handshakes) note(endpoint string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.last[endpoint]
	h.last[endpoint] = err
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		h.log.Warn("connection to etcd not secured, retrying", zap.String("endpoint", endpoint), zap.Error(err))
	case err == nil && before != nil:
		h.log.Info("connection to etcd secured", zap.String("endpoint", endpoint))
	}
	failed := 0
	for _, err := range h.last {
		if err != nil {
			failed++
		}
	}
	if failed >= h.endpoints {
		h.giveUp()
	}
}

// reason returns why the last handshake with an endpoint failed; nil if it did not.
func (h *handshakes) reason(endpoint string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last[endpoint]
}

// noteStale logs, once for each reason, that an earlier configuration is still in use; nil says
// that the present one is.
func (h *handshakes) noteStale(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var why string
	if err != nil {
		why = err.Error()
	}
	if why != "" && why != h.stale {
		h.log.Warn("changed credentials for etcd cannot be used, going on with those before", zap.Error(err))
	}
	h.stale = why
}

// refusal returns why no endpoint can be connected to, if the reason is certificates; nil
// otherwise.
func (h *handshakes) refusal() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var all error
	for _, endpoint := range slices.Sorted(maps.Keys(h.last)) {
		if h.last[endpoint] == nil {
			return nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w", endpoint, h.last[endpoint]))
	}
	if all == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", driver.ErrDenied, all)
}

// handshakeError explains an error that ended a handshake and will not go away by trying again;
// it returns nil for any other error.
func handshakeError(err error, cfg *tls.Config) error {
	return tlserror.Explain(err, etcdPeer(cfg))
}

// etcdPeer names the parts of a connection to etcd in explanations.
func etcdPeer(cfg *tls.Config) tlserror.Peer {
	return tlserror.Peer{Name: "etcd", Whose: "etcd's", CA: "Config.TLS (--etcd-cacert)", Cert: presented(cfg)}
}

// speaksTLS reports whether the server at an endpoint expects TLS, whoever it is.
func speaksTLS(ctx context.Context, endpoint string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address(endpoint))
	if err == nil {
		return conn.Close() == nil
	}
	var record tls.RecordHeaderError
	return handshakeError(err, cfg) != nil && !errors.As(err, &record)
}

// presented describes the client certificate of cfg.
func presented(cfg *tls.Config) string {
	if leaf := clientLeaf(cfg); leaf != nil {
		return fmt.Sprintf("it is %s, issued by %s, valid until %s", leaf.Subject, leaf.Issuer, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return "there is none"
}

// clientLeaf returns the certificate that cfg presents to a server, nil if it is not known.
func clientLeaf(cfg *tls.Config) *x509.Certificate {
	if len(cfg.Certificates) == 0 {
		return nil
	}
	return cfg.Certificates[0].Leaf
}

// firstRead reports how the first read went: with TLS 1.3 the server checks the client's
// certificate after the client's handshake is done.
type firstRead struct {
	net.Conn
	tell func(error) // nil once it is told
}

// Read implements net.Conn.
func (c *firstRead) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.tell != nil {
		c.tell(err)
		c.tell = nil
	}
	return n, err
}
