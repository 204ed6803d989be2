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

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// Not everything that answers as etcd does can be relied on. Old versions send a notice
// of progress before events that it covers, a grpc-proxy answers no request for progress,
// a learner answers hardly anything, and an endpoint of another cluster answers for
// another store. So each endpoint is asked what it is: when the store is opened, where
// that refuses to go on, and every few seconds from then on.

// portrait is what a member of etcd tells of itself.
type portrait struct {
	version string
	cluster uint64
	learner bool
	corrupt bool // the cluster's alarm
}

// portray asks the member that a client is of. It does not wait for a connection.
func portray(ctx context.Context, client *clientv3.Client) (*portrait, error) {
	ctx, cancel := context.WithTimeout(ctx, scoutEvery)
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
	p := &portrait{version: resp.Version, cluster: resp.Header.ClusterId, learner: resp.IsLearner}
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

// overtakes reports whether an etcd of a version lets a notice of progress overtake
// events. A version that cannot be read is none of the old ones.
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

// fault says why a member cannot be relied on by itself; empty if it can.
func (p *portrait) fault() string {
	switch {
	case overtakes(p.version):
		return fmt.Sprintf("it is version %s, whose streams are out of order: a notice of progress overtakes events, and copies come to differ for good; use at least 3.4.25, 3.5.8 or 3.6", p.version)
	case p.learner:
		return "it is a learner, which answers for nobody: promote it, or name other members"
	default:
		return ""
	}
}

// examine asks each endpoint what it is and refuses those that no plane can be kept in.
// Endpoints that do not answer are for the scout to look at.
func (s *Store) examine(ctx context.Context) error {
	if s.client.Maintenance == nil {
		return nil // somebody's own client, which cannot ask
	}
	found := make([]*portrait, len(s.scout.members))
	var group errgroup.Group
	for i, member := range s.scout.members {
		group.Go(func() error {
			client, done, err := s.scout.client(member)
			if err != nil {
				return err
			}
			defer done()
			found[i], err = s.examineOne(ctx, member, client)
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
				s.scout.members[first], found[first].cluster, s.scout.members[i], p.cluster)
		}
	}
	s.scout.begin(found)
	return nil
}

func (s *Store) examineOne(ctx context.Context, member string, client *clientv3.Client) (*portrait, error) {
	p, err := portray(ctx, client)
	switch {
	case err != nil && status.Code(err) != codes.Unavailable && status.Code(err) != codes.DeadlineExceeded && ctx.Err() == nil:
		s.log.Warn("version of etcd not known, going on without", zap.String("member", member), zap.Error(err))
		return nil, nil
	case err != nil: // it is away, or nobody's that can be talked to
		if s.cfg.Client == nil {
			if why := s.access.who(ctx, member); why != nil {
				s.log.Warn("endpoint cannot be used, going on without", zap.String("endpoint", member), zap.Error(why))
			}
		}
		return nil, nil
	case overtakes(p.version):
		return nil, errors.New(p.fault())
	case p.learner:
		return p, nil
	}
	return p, s.answersProgress(ctx, client)
}

// A member is given this long to answer a request for progress, and is asked this often,
// each time with a read that it has to answer as well.
const (
	progressAsks  = 16
	progressEvery = 250 * time.Millisecond
)

// answersProgress tells whether who answers reads and opens watches answers requests for
// progress too: no copy can be known to be current without. A grpc-proxy does not. What
// cannot be told now is no reason to refuse.
func (s *Store) answersProgress(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	ctx = metadata.AppendToOutgoingContext(ctx, "coordinator-stream", rand.Text())
	watch := client.Watch(ctx, s.keys.meta(), clientv3.WithCreatedNotify())
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
		if _, err := client.Get(ctx, s.keys.meta(), clientv3.WithCountOnly()); err != nil {
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

// look asks a member every few seconds what it is, until the store is closed.
func (sc *scout) look(member string, client *clientv3.Client) {
	for retry.Wait(sc.store.ctx, lookEvery) == nil {
		if p, err := portray(sc.store.ctx, client); err == nil {
			sc.portrayed(member, p)
		}
	}
}

// portrayed notes what a member is.
func (sc *scout) portrayed(member string, p *portrait) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if before := sc.found[member]; p.corrupt && (before == nil || !before.corrupt) {
		sc.store.log.Error("etcd has found its members' data to differ and takes no writes", zap.String("member", member))
	}
	sc.found[member], sc.of[member] = &sighting{portrait: p, at: time.Now()}, p.cluster
	sc.choose()
}

// standing tells what is known of the members.
func (sc *scout) standing() (notes []string, refuses error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, member := range sc.members {
		seen := sc.found[member]
		if seen == nil {
			continue
		}
		if seen.corrupt && time.Since(seen.at) < 3*lookEvery && sc.fault(member) == "" {
			refuses = fmt.Errorf("%w: its alarm CORRUPT is raised", driver.ErrStoreCorrupt)
		}
		if fault := sc.fault(member); fault != "" {
			notes = append(notes, fmt.Sprintf("etcd at %s cannot be relied on: %s", member, fault))
		}
	}
	return notes, refuses
}
