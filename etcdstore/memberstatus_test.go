package etcdstore_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// claims has etcd seem to be of a version.
func claims(cfg *etcdstore.Config, version *atomic.Pointer[string]) {
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, opts...)
			if s, ok := reply.(*pb.StatusResponse); ok && err == nil {
				s.Version = *version.Load()
			}
			return err
		}))
}

// Promise: an etcd of a version that breaks the order of its own streams is refused, by
// name, and no other is.
func TestOpen_Version(t *testing.T) {
	l := newLab(t)
	for version, refused := range map[string]bool{
		"3.4.23": true, "3.4.24": true, "3.4.25": false, "3.4.44": false,
		"3.5.0": true, "3.5.7": true, "3.5.8": false, "3.5.33": false, "3.5.7+vendor.1": true, "3.5.8-rc.0": true,
		"3.3.27": true, "2.3.8": true, "3.6.0": false, "3.6.0-rc.1": false, "3.7.3": false, "4.0.0": false,
		"": false, "of our own": false,
	} {
		cfg := l.config()
		var claimed atomic.Pointer[string]
		claimed.Store(&version)
		claims(&cfg, &claimed)
		s, err := etcdstore.Open(l.ctx(), cfg)
		if (err != nil) != refused {
			t.Errorf("%q: %v", version, err)
		}
		if err == nil {
			l.must(s.Close())
		} else if !strings.Contains(err.Error(), "version "+version+",") || errors.Is(err, rebind.ErrUnavailable) {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// Promise: a version that etcd does not tell is no reason to refuse it.
func TestOpen_VersionNotTold(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if method == pb.Maintenance_Status_FullMethodName {
				return status.Error(codes.PermissionDenied, "etcdserver: permission denied")
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	l.must(l.open(cfg).Close())
}

// Promise: a member that is replaced by one of an old version while the store is open is
// told of.
func TestStanding_TellsOfAnOldMember(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	var claimed atomic.Pointer[string]
	good, old := "3.7.3", "3.5.4"
	claimed.Store(&good)
	claims(&cfg, &claimed)
	s := l.open(cfg)
	defer func() { l.must(s.Close()) }()
	if st := s.Health(); st.Refuses != nil || len(st.Notes) != 0 {
		t.Errorf("of a sound etcd: %+v", st)
	}
	claimed.Store(&old)
	l.eventually("told of "+old, func() bool {
		st := s.Health()
		return len(st.Notes) == 1 && strings.Contains(st.Notes[0], old)
	})
	claimed.Store(&good)
	l.eventually("silent again", func() bool { return len(s.Health().Notes) == 0 })
}

// Promise: the TTL of leases is the one that etcd granted.
func TestTTL_IsTheGrantedOne(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if ask, ok := req.(*pb.LeaseGrantRequest); ok {
				ask.TTL = 9
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	l.stores["a"] = l.open(cfg)
	if got := l.stores["a"].TTL(); got != cfg.TTL {
		t.Errorf("TTL before a grant = %s", got)
	}
	m := l.join("a")
	if got := l.stores["a"].TTL(); got != 9*time.Second {
		t.Errorf("TTL = %s, want what was granted", got)
	}
	if left := m.Remaining(); left < 7*time.Second {
		t.Errorf("remaining %s of 9s", left)
	}
	if notes := l.stores["a"].Health().Notes; len(notes) != 1 || !strings.Contains(notes[0], "9s") {
		t.Errorf("notes = %q", notes)
	}
}
