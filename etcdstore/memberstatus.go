package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// This file asks each endpoint what it is: when the store is opened, and every few seconds
// from then on. Some that answer like etcd cannot be relied on: old versions send a progress
// notice before events that it covers, a grpc-proxy does not answer requests for progress, a
// learner answers hardly anything, and an endpoint may belong to another cluster.

// memberStatus is what a member of etcd says about itself.
type memberStatus struct {
	version string
	cluster uint64
	learner bool
	corrupt bool // the cluster's alarm
}

// askStatus asks the member that a client is for. It does not wait for a connection.
func askStatus(ctx context.Context, client *clientv3.Client) (*memberStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	var resp *pb.StatusResponse
	var err error
	if conn := client.ActiveConnection(); conn != nil {
		resp, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	} else { // a server in this process
		var found *clientv3.StatusResponse
		found, err = client.Status(ctx, "")
		resp = (*pb.StatusResponse)(found)
	}
	if err != nil {
		return nil, rpctypes.Error(err)
	}
	p := &memberStatus{version: resp.Version, cluster: resp.Header.ClusterId, learner: resp.IsLearner}
	for _, alarm := range resp.Errors {
		p.corrupt = p.corrupt || strings.Contains(alarm, pb.AlarmType_CORRUPT.String())
	}
	return p, nil
}

// The first versions of etcd that keep the order of their streams (etcd-io/etcd#15220).
var (
	ordered34 = semver.MustParse("3.4.25")
	ordered35 = semver.MustParse("3.5.8")
)

// overtakes reports whether a progress notice can overtake events in a version of etcd. A
// version that cannot be parsed is taken to be a new one.
func overtakes(version string) bool {
	v, err := semver.NewVersion(version)
	if err != nil {
		return false
	}
	if v.Major() == 3 && v.Minor() == 4 {
		return v.LessThan(ordered34)
	}
	return v.LessThan(ordered35)
}

// fault says why a member cannot be relied on; empty if it can.
func (p *memberStatus) fault() string {
	switch {
	case overtakes(p.version):
		return fmt.Sprintf("it is version %s, whose streams are out of order: a notice of progress overtakes events, and copies come to differ for good; use at least 3.4.25, 3.5.8 or 3.6", p.version)
	case p.learner:
		return "it is a learner, which answers for nobody: promote it, or name other members"
	default:
		return ""
	}
}

// examine asks each endpoint what it is, and returns an error for those in which no plane can
// be kept. It passes over endpoints that do not answer: the prober asks them again.
func (sc *memberProber) examine(ctx context.Context) error {
	if sc.store.client.Maintenance == nil {
		return nil // somebody's own client, which cannot ask
	}
	found := make([]*memberStatus, len(sc.members))
	var group errgroup.Group
	for i, member := range sc.members {
		group.Go(func() error {
			client, done, err := sc.client(member)
			if err != nil {
				return err
			}
			defer done()
			found[i], err = sc.examineOne(ctx, member, client)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	first := -1
	for i, p := range found {
		switch {
		case p == nil:
		case first < 0:
			first = i
		case p.cluster != found[first].cluster:
			return fmt.Errorf("endpoints of two clusters: %s is of cluster %x, %s of cluster %x: name the endpoints of one",
				sc.members[first], found[first].cluster, sc.members[i], p.cluster)
		}
	}
	sc.begin(found)
	return nil
}

func (sc *memberProber) examineOne(ctx context.Context, member string, client *clientv3.Client) (*memberStatus, error) {
	s := sc.store
	p, err := askStatus(ctx, client)
	switch {
	case err != nil && status.Code(err) != codes.Unavailable && status.Code(err) != codes.DeadlineExceeded && ctx.Err() == nil:
		s.log.Warn("version of etcd not known, going on without", zap.String("member", member), zap.Error(err))
		return nil, nil
	case err != nil: // it is away, or nobody's that can be talked to
		if s.cfg.Client == nil {
			if why := s.access.diagnose(ctx, member); why != nil {
				s.log.Warn("endpoint cannot be used, going on without", zap.String("endpoint", member), zap.Error(why))
			}
		}
		return nil, nil
	case overtakes(p.version):
		return nil, errors.New(p.fault())
	case p.learner:
		return p, nil
	}
	return p, sc.answersProgress(ctx, client)
}

// A member is asked for progress this often, at this interval, each time with a read that it
// has to answer as well.
const (
	progressAsks  = 16
	progressEvery = 250 * time.Millisecond
)

// answersProgress returns an error if a member that answers reads and opens watches does not
// answer requests for progress, as a grpc-proxy does not. Without them no copy is known to be
// current. It returns nil if it cannot tell.
func (sc *memberProber) answersProgress(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(sc.store.ctx, cancel)()
	ctx = metadata.AppendToOutgoingContext(ctx, "coordinator-stream", rand.Text())
	watch := client.Watch(ctx, sc.store.keys.meta(), clientv3.WithCreatedNotify())
	select {
	case resp := <-watch:
		if !resp.Created {
			return nil
		}
	case <-time.After(callTimeout):
		return nil
	case <-ctx.Done():
		return nil
	}
	for range progressAsks {
		if client.RequestProgress(ctx) != nil {
			return nil
		}
		if _, err := client.Get(ctx, sc.store.keys.meta(), clientv3.WithCountOnly()); err != nil {
			return nil
		}
		wait, stop := context.WithTimeout(ctx, progressEvery)
		answered := false
		for !answered && wait.Err() == nil {
			select {
			case resp, open := <-watch:
				answered = !open || resp.IsProgressNotify() || resp.Canceled
			case <-wait.Done():
			}
		}
		stop()
		if answered || ctx.Err() != nil {
			return nil
		}
	}
	return errors.New("it answers reads and no request for progress of a watch, without which no copy is known to be current, as etcd's grpc-proxy does: name etcd's own endpoints")
}
