package etcdstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file finds out what answers at an endpoint that cannot be used, so that the person who
// configured it is told. grpc reports only that it has waited.

// errNotEtcd is the [driver.ErrWrongServer] of an endpoint where another server answers.
var errNotEtcd error = wrongServer{}

type wrongServer struct{}

// Error implements error.
func (wrongServer) Error() string { return "not etcd" }

// Unwrap makes the error a [driver.ErrWrongServer].
func (wrongServer) Unwrap() error { return driver.ErrWrongServer }

// diagnoseAll returns why none of the endpoints can ever be used as configured. It returns nil
// if that is not known of one of them, which may merely be down.
func (a *access) diagnoseAll(ctx context.Context, endpoints []string) error {
	var all error
	for _, endpoint := range endpoints {
		why := a.diagnose(ctx, endpoint)
		if why == nil {
			return nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w", endpoint, why))
	}
	return all
}

// diagnose returns why the server at an endpoint cannot be used as configured; nil if it can,
// or if that is not known.
func (a *access) diagnose(ctx context.Context, endpoint string) error {
	if scheme(endpoint) == "unix" || scheme(endpoint) == "unixs" || proxyFor(endpoint) != "" {
		return nil // nobody is met there by an address
	}
	if a.secure == nil {
		if speaksTLS(ctx, endpoint) {
			return fmt.Errorf("%w: etcd wants connections to be secured: write endpoints with https://", driver.ErrDenied)
		}
		return identify(ctx, address(endpoint)).problem()
	}
	client, err := a.dial([]string{endpoint})
	if err != nil {
		return nil
	}
	defer client.Close()
	if _, err := askStatus(ctx, client); err != nil && strings.Contains(err.Error(), "unexpected HTTP status code") {
		return fmt.Errorf("%w: a web server answers there: %w", errNotEtcd, err)
	}
	if why := a.secure.reason(address(endpoint)); why != nil {
		return fmt.Errorf("%w: %w", driver.ErrDenied, why)
	}
	return nil
}

// proxyFor returns the proxy through which grpc reaches an endpoint, as the environment says;
// empty for none. Like etcdctl, a node obeys HTTPS_PROXY and NO_PROXY, whatever the scheme.
func proxyFor(endpoint string) string {
	if scheme(endpoint) == "unix" || scheme(endpoint) == "unixs" {
		return ""
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address(endpoint)}})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Redacted()
}

// address returns host and port of an endpoint.
func address(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		return u.Host
	}
	return endpoint
}

// identity is what a server turned out to be. The zero value knows nothing.
type identity struct {
	etcd bool
	what string // who else it is
}

// problem returns why it cannot be used as etcd; nil if that is not known.
func (g identity) problem() error {
	if g.what == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", errNotEtcd, g.what)
}

// preface is what a client of HTTP/2 sends first: its magic and empty settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// get returns a request for a path.
func get(address, path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n"
}

// identify finds out what answers at an address without TLS.
func identify(ctx context.Context, address string) identity {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	said := exchange(ctx, address, get(address, "/version"))
	if strings.HasPrefix(said, "SSH-") {
		return identity{what: "an SSH server answers there"}
	}
	if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(said)), nil); err == nil {
		body, _ := io.ReadAll(resp.Body) // what there is of it
		resp.Body.Close()
		switch {
		case strings.Contains(string(body), "etcdserver"):
			return identity{etcd: true}
		case strings.Contains(strings.ToLower(exchange(ctx, address, get(address, "/livez"))), "\r\ncoordinator-node:"):
			return identity{what: "the API of a node answers there: name etcd's endpoints, its port is most often 2379"}
		default:
			return identity{what: fmt.Sprintf("a web server answers there, and says %.64q", resp.Status)}
		}
	}
	if said == "" { // an etcd whose port takes grpc alone, maybe
		said = exchange(ctx, address, preface)
	}
	const settings = 4 // the type of a frame, after its length
	return identity{etcd: len(said) > 3 && said[0] == 0 && said[3] == settings}
}

// exchange sends some bytes and returns the beginning of the answer.
func exchange(ctx context.Context, address, words string) string {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(callTimeout / 4)) // or nothing is heard
	if _, err := io.WriteString(conn, words); err != nil {
		return ""
	}
	said, _ := io.ReadAll(io.LimitReader(conn, 4<<10)) // until the other side or the deadline ends it
	return string(said)
}

// hungUp reports whether a handshake ended because the server closed the connection, as an etcd
// without TLS does.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
