package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// answer is a node's answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// newHTTP makes the client for requests to nodes.
func (f *Fleet) newHTTP() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second}
	if f.cfg.Dial != nil {
		transport.DialContext = f.cfg.Dial
	}
	return &http.Client{Transport: transport, Timeout: 15 * time.Second}
}

// dialOptions are for the laboratory's own connections to etcd.
func (f *Fleet) dialOptions() []grpc.DialOption {
	if f.cfg.Dial == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return f.cfg.Dial(ctx, "tcp", address)
	})}
}

// errNotSent means that a request had no effect: nothing of it was sent.
var errNotSent = errors.New("not sent")

// call sends a request to a node. The HTTP client may repeat a request with an id by itself
// when a connection breaks, so an error of the last attempt says nothing about the first.
func (f *Fleet) call(ctx context.Context, method, url string, header map[string]string, body []byte) (*answer, error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := f.http.Do(req)
	switch {
	case err != nil && !sent.Load():
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	case err != nil:
		return nil, fmt.Errorf("send request: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return &answer{resp.StatusCode, resp.Header, text}, nil
}

// get reads a path of the node into v.
func (n *Node) get(ctx context.Context, path string, v any) error {
	a, err := n.fleet.call(ctx, http.MethodGet, n.url+path, nil, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: GET %s: %d %.200s: %w", n.ID, path, a.status, a.body, errNotServing)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("%s: GET %s: %w", n.ID, path, err)
	}
	return nil
}

func (f *Fleet) tokenFile() string { return filepath.Join(f.cfg.Dir, "tokens") }

// writeToken creates the laboratory's token: if nodes do not share one loopback, nobody may
// change anything without a token.
func (f *Fleet) writeToken() error {
	f.token = rand.Text()
	line := fmt.Sprintf("lab admin sha256:%x\n", sha256.Sum256([]byte(f.token)))
	if err := os.WriteFile(f.tokenFile(), []byte(line), 0o600); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// trimQuotes returns what an ETag has between its quotes.
func trimQuotes(tag string) string {
	if text, err := strconv.Unquote(tag); err == nil {
		return text
	}
	return tag
}
