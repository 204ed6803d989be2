package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/internal/freeport"
)

// Member is one member of the fleet's etcd.
type Member struct {
	Name string
	seat

	fleet        *Fleet
	place        Place
	client, peer string // addresses
}

var errNoLeader = errors.New("etcd has no leader that can be asked")

// ownLoopback is a loopback address that no other process uses: while a node is down,
// nobody must take its port.
func ownLoopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1" // there may be no other
	}
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.1", 1+pid/250%250, 1+pid%250)
}

// address finds a free address at a place.
func (p Place) address() (string, error) {
	free, err := freeport.Address()
	if err != nil {
		return "", fmt.Errorf("find a free address: %w", err)
	}
	host := p.Address
	if host == "" {
		host = ownLoopback()
	}
	_, port, err := net.SplitHostPort(free)
	return net.JoinHostPort(host, port), err
}

func (f *Fleet) startMembers(ctx context.Context) error {
	var endpoints []string
	for i, place := range f.cfg.Members {
		m := &Member{Name: fmt.Sprint("m", i+1), fleet: f, place: place}
		var err error
		if m.client, err = place.address(); err != nil {
			return err
		}
		if m.peer, err = place.address(); err != nil {
			return err
		}
		f.Members = append(f.Members, m)
		endpoints = append(endpoints, m.client)
	}
	for _, m := range f.Members {
		if err := m.Start(); err != nil {
			return err
		}
	}
	var err error
	if f.store, err = f.openStore(endpoints, false); err != nil {
		return err
	}
	if _, err = f.Leader(ctx, waitLimit); err == nil && f.cfg.Guarded {
		err = f.guard(ctx)
	}
	return err
}

// Endpoint is where clients reach it.
func (m *Member) Endpoint() string { return m.client }

// Start starts it, with its earlier data if there is any.
func (m *Member) Start() error { return m.startAt(m.client) }

// startAt starts it with the address for clients given, or else its own.
func (m *Member) startAt(client string, args ...string) error {
	var all []string
	for _, other := range m.fleet.Members {
		all = append(all, other.Name+"=http://"+other.peer)
	}
	args = append([]string{
		m.fleet.cfg.Binaries.Etcd, "--data-dir", m.data(), "--name", m.Name, "--log-level", "warn", "--bcrypt-cost", "4",
		"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + m.client,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
		"--initial-cluster", strings.Join(all, ","),
	}, args...)
	p, err := m.fleet.spawn(m.Name, m.place, nil, args...)
	if err != nil {
		return err
	}
	m.current.Store(p)
	return nil
}

// data is its data directory.
func (m *Member) data() string { return filepath.Join(m.fleet.cfg.Dir, "etcd", m.Name) }

// AwaitServing waits until it answers clients.
func (m *Member) AwaitServing(ctx context.Context, limit time.Duration) error {
	return await(ctx, limit, func(ctx context.Context) error {
		_, err := m.status(ctx)
		return err
	})
}

func (m *Member) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := m.fleet.store.Status(ctx, m.client)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", m.Name, err)
	}
	return status, nil
}

// Leader waits until the members that answer agree on a leader.
func (f *Fleet) Leader(ctx context.Context, limit time.Duration) (*Member, error) {
	var leader *Member
	err := await(ctx, limit, func(ctx context.Context) error {
		leader = nil
		var id uint64
		for _, m := range f.Members {
			if !m.up() {
				continue
			}
			status, err := m.status(ctx)
			switch {
			case err != nil:
				return err
			case status.Leader == 0 || id != 0 && status.Leader != id:
				return fmt.Errorf("%s says that %x leads, another said %x: %w", m.Name, status.Leader, id, errNoLeader)
			}
			if id = status.Leader; id == status.Header.MemberId {
				leader = m
			}
		}
		if leader == nil {
			return errNoLeader
		}
		return nil
	})
	return leader, err
}
