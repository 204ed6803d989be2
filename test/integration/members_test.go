package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// member is one of an etcd cluster of several.
type member struct {
	*process
	name, dir, client, peer string
	stopped                 bool
}

// ensemble is a plane on an etcd cluster of three.
type ensemble struct {
	*cluster
	members []*member
}

// newEnsemble starts an etcd cluster of three for the test.
func newEnsemble(t *testing.T, ttl time.Duration) *ensemble {
	t.Helper()
	e := &ensemble{cluster: &cluster{t: t, etcdDir: t.TempDir(), plane: "p", ttl: ttl, nodes: make(map[string]*process)}}
	var endpoints []string
	for i := range 3 {
		m := &member{name: fmt.Sprint("m", i), dir: t.TempDir(), client: freeAddress(t), peer: freeAddress(t)}
		e.members = append(e.members, m)
		endpoints = append(endpoints, m.client)
	}
	e.endpoint = strings.Join(endpoints, ",")
	for _, m := range e.members {
		e.start(m)
	}
	raw, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	e.raw = raw
	e.leader()
	return e
}

// start starts a member, on the data it had if it had any.
func (e *ensemble) start(m *member) {
	e.t.Helper()
	var all []string
	for _, other := range e.members {
		all = append(all, other.name+"=http://"+other.peer)
	}
	m.process = spawn(e.t, m.name, etcdBin,
		"--data-dir", m.dir, "--name", m.name, "--log-level", "error",
		"--listen-client-urls", "http://"+m.client, "--advertise-client-urls", "http://"+m.client,
		"--listen-peer-urls", "http://"+m.peer, "--initial-advertise-peer-urls", "http://"+m.peer,
		"--initial-cluster", strings.Join(all, ","))
	eventually(e.t, maxWait, func() error {
		conn, err := net.Dial("tcp", m.client)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// hang stops a member without its peers' sockets noticing; resume lets it go on.
func (m *member) hang() {
	m.signal(syscall.SIGSTOP)
	m.stopped = true
}

func (m *member) resume() {
	m.signal(syscall.SIGCONT)
	m.stopped = false
}

// leader waits until the members that can be asked agree on a leader.
func (e *ensemble) leader() *member {
	e.t.Helper()
	var leader *member
	eventually(e.t, maxWait, func() error {
		var id uint64
		for _, m := range e.members {
			if m.stopped {
				continue
			}
			ctx, cancel := context.WithTimeout(e.t.Context(), time.Second)
			status, err := e.raw.Status(ctx, m.client)
			cancel()
			switch {
			case err != nil:
				return err
			case status.Leader == 0 || (id != 0 && status.Leader != id):
				return fmt.Errorf("%s says that %x leads, another said %x", m.name, status.Leader, id)
			}
			if id = status.Leader; id == status.Header.MemberId {
				leader = m
			}
		}
		if leader == nil {
			return errors.New("the leader cannot be asked")
		}
		return nil
	})
	return leader
}

// follower is a member that does not lead.
func (e *ensemble) follower() *member {
	e.t.Helper()
	leader := e.leader()
	for _, m := range e.members {
		if m != leader && !m.stopped {
			return m
		}
	}
	e.t.Fatal("no follower")
	return nil
}

// move has the leader pass its office to another member.
func (e *ensemble) move() {
	e.t.Helper()
	from, to := e.leader(), e.follower()
	ctx, cancel := context.WithTimeout(e.t.Context(), maxWait)
	defer cancel()
	status, err := e.raw.Status(ctx, to.client)
	if err != nil {
		e.t.Fatal(err)
	}
	direct, err := clientv3.New(clientv3.Config{Endpoints: []string{from.client}})
	if err != nil {
		e.t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.MoveLeader(ctx, status.Header.MemberId); err != nil {
		e.t.Fatal(err)
	}
}
