package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// Node is one node of the plane.
type Node struct {
	NodeConfig
	seat

	fleet *Fleet
	url   string
}

var (
	errNotServing = errors.New("node does not serve")
	errNoMaster   = errors.New("no master")
)

func (f *Fleet) newNode(c NodeConfig) (*Node, error) {
	address, err := c.Place.address()
	if err != nil {
		return nil, err
	}
	return &Node{NodeConfig: c, fleet: f, url: "http://" + address}, nil
}

// Start starts it, with its earlier notes if there are any. It does not wait.
func (n *Node) Start() error {
	var endpoints []string
	for _, m := range n.fleet.Members {
		endpoints = append(endpoints, m.client)
	}
	args := append([]string{
		n.fleet.cfg.Binaries.Coordinator, "run", "--node-id", n.ID, "--mode", n.Mode, "--plane", plane,
		"--endpoints", strings.Join(endpoints, ","), "--listen", strings.TrimPrefix(n.url, "http://"),
		"--data-dir", filepath.Join(n.fleet.cfg.Dir, "nodes", n.ID), "--lease-ttl", n.fleet.cfg.TTL.String(),
		"--log-format", "json", "--log-level", "debug", "--store-timeout", waitLimit.String(),
		"--auth-token-file", n.fleet.tokenFile(),
	}, n.Args...)
	if n.fleet.cfg.Guarded {
		args = append(args, "--etcd-user", userOf(n.ID), "--etcd-password-file", n.fleet.passwordFile())
	}
	if n.Mode == "standby" || n.Mode == "hot_standby" {
		args = append(args, "--wait-for-master", waitLimit.String())
	}
	p, err := n.fleet.spawn(n.ID, n.Place, n.Env, args...)
	if err != nil {
		return err
	}
	n.current.Store(p)
	return nil
}

// State is what a node says about itself.
type State struct {
	ID, Mode, State string
	Term            int64
	Mirror          *struct {
		Revision    int64
		Count       int
		StalenessMS int64 `json:"staleness_ms"`
	}
}

// State asks the node for its state.
func (n *Node) State(ctx context.Context) (s State, err error) {
	err = n.get(ctx, "/v1/node", &s)
	return s, err
}

// AwaitServing waits until it says that it serves as its mode requires.
func (n *Node) AwaitServing(ctx context.Context, limit time.Duration) error {
	return await(ctx, limit, func(ctx context.Context) error {
		a, err := n.fleet.call(ctx, http.MethodGet, n.url+"/readyz", nil, nil)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("%s: %d %.200s: %w", n.ID, a.status, a.body, errNotServing)
		}
		return nil
	})
}

// AwaitMaster waits until a node says that it is MASTER and accepts writes.
func (f *Fleet) AwaitMaster(ctx context.Context, limit time.Duration) (master *Node, err error) {
	err = await(ctx, limit, func(ctx context.Context) error {
		master = nil
		for _, n := range f.Nodes {
			if !n.up() {
				continue
			}
			if a, err := f.call(ctx, http.MethodGet, n.url+"/role/writable", nil, nil); err == nil && a.status == http.StatusOK {
				master = n
				return nil
			}
		}
		return errNoMaster
	})
	return master, err
}
