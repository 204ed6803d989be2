package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file opens a store and holds what all of it shares.

// Config says where a plane is kept. Prefix, Plane and TTL are required, and either
// Endpoints or Client.
type Config struct {
	// Endpoints are etcd's client URLs, all with one scheme or all without.
	Endpoints []string
	// Client makes a client of etcd by other means, such as one of a server in this
	// process. It is called twice, and the store closes what it made. The client determines
	// how etcd is reached, and as which user: with it, leave out Endpoints, TLS, User,
	// Password and DialOptions. If it has no connection and its watches could outlive a
	// restart of the server, it has to end them itself. nil dials Endpoints.
	Client func() (*clientv3.Client, error)
	// Prefix comes before all keys: it begins with / and does not end with it. From its
	// third part on, neither it nor the plane's name may be a word that planes use for their
	// own keys, because they could lie within another plane.
	Prefix string
	// Plane names the plane.
	Plane string
	// TTL is what leases are asked for: whole seconds, at least two. etcd
	// may grant more, and what it grants counts.
	TTL time.Duration
	// TLS says how connections are secured. It is called for each new connection, so
	// that certificates can be renewed while the store is open: [TLSFiles] reads them
	// from files. What it returns beside an error is still used, and the error is logged.
	// With nil, endpoints with https:// use the system's authorities and all others are not
	// encrypted.
	TLS func() (*tls.Config, error)
	// User logs in to etcd with what Password returns at that moment: [PasswordFile]
	// reads it from a file. Both or neither; without, a client certificate tells etcd
	// the user, by its common name.
	User     string
	Password func() (string, error)
	// LastLease is the lease of an earlier process of this node, known to be
	// dead: the first Join ends it, so that nobody has to wait until it lapses. 0 for
	// none.
	LastLease int64
	// StillAlive reports whether the process that published r is alive after all. It is
	// asked before LastLease is ended, if a record hangs on that; while it says so, Join
	// returns a [*driver.TakenError]. nil means never.
	StillAlive func(ctx context.Context, r driver.Record) bool
	// OnLease is called with each new lease before anything is put under it, which waits
	// for it: it must return soon. nil is allowed.
	OnLease func(lease int64)
	// OnRenewal is called after each attempt to renew the lease, except those under way when
	// it ends: how long it took, and its error. Calls do not overlap, and must return at
	// once. nil is allowed.
	OnRenewal func(took time.Duration, err error)
	// DialOptions are added to those of the connections to etcd, to measure or trace
	// requests.
	DialOptions []grpc.DialOption
	// Clock is what leases are judged by, for tests in virtual time. It must run while the
	// machine is suspended, and never be set; nil is a clock of the kernel that does so.
	Clock func() time.Duration
	// Logger is where the store says what it does; nil means nowhere.
	Logger *zap.Logger
}

// minTTL is the least TTL that can be asked for. etcd grants no less with its default
// election timeout, and three renewals must fit into it.
const minTTL = 2 * time.Second

const (
	// callTimeout bounds a call whose context has no deadline, and each attempt
	// of those that are tried again.
	callTimeout = 2 * time.Second
	// maxPause is the longest time between two tries of what is tried again.
	maxPause = time.Second
	// A dead connection is noticed after dialKeepAlive + dialTimeout; grpc allows
	// no shorter time than 10 s between pings. On Linux grpc takes the time-out
	// as TCP_USER_TIMEOUT too, which finds lost packets sooner.
	dialKeepAlive = 10 * time.Second
	dialTimeout   = 2 * time.Second
)

// Validate returns everything that is wrong with c, without asking etcd.
func (c *Config) Validate() error {
	err := errors.Join(checkPrefix(c.Prefix, c.Plane), driver.CheckPlane(c.Plane))
	if len(c.Endpoints) == 0 && c.Client == nil {
		err = errors.Join(err, errors.New("no endpoints"))
	}
	err = errors.Join(err, checkEndpoints(c.Endpoints), c.checkAccess())
	if c.TTL < minTTL || c.TTL%time.Second != 0 {
		err = errors.Join(err, fmt.Errorf("lease TTL %s: use whole seconds, at least %s", c.TTL, minTTL))
	}
	return err
}

// defaults sets the optional fields that are not set.
func (c *Config) defaults() {
	if c.OnLease == nil {
		c.OnLease = func(int64) {}
	}
	if c.StillAlive == nil {
		c.StillAlive = func(context.Context, driver.Record) bool { return false }
	}
	if c.OnRenewal == nil {
		c.OnRenewal = func(time.Duration, error) {}
	}
	if c.Clock == nil {
		c.Clock = clock.Boot
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Keys returns the range of all keys of the plane: from, included, to, excluded.
func (c *Config) Keys() (from, to string) {
	all := prefixed(newKeys(c.Prefix, c.Plane).root)
	return all.from, all.to
}

// Writes returns the ranges of keys that a node writes in a mode, each as in [Config.Keys]
// but for single keys, whose end is empty. An empty node stands for any node.
func (c *Config) Writes(mode modes.Mode, node string) [][2]string {
	var ranges [][2]string
	for _, sp := range newKeys(c.Prefix, c.Plane).written(mode, node) {
		if sp == single(sp.from) {
			sp.to = ""
		}
		ranges = append(ranges, [2]string{sp.from, sp.to})
	}
	return ranges
}

// Store keeps one plane in etcd. It implements [driver.Store]. Any goroutine may call its
// methods.
type Store struct {
	cfg    Config
	keys   keys
	client *clientv3.Client
	// renewals has connections of its own. The client sends requests to etcd's members in
	// turn, and requests in step with renewals could keep sending every renewal to the member
	// that hangs; alone, they go to each in turn. Nor do they wait behind large writes.
	renewals *clientv3.Client
	// loads is for large reads, so that their progress can be seen; it is client if that was
	// made by other means.
	loads  *clientv3.Client
	loaded atomic.Int64 // bytes that came by it
	prober *memberProber
	access access
	log    *zap.Logger

	granted atomic.Int64 // the TTL that etcd granted last; nanoseconds

	ctx  context.Context // ends with Close
	halt context.CancelFunc
	// waits is the context of waits in the election. A cancelled wait deletes its key, unless
	// its client is closed by then.
	waits    context.Context
	endWaits context.CancelFunc
	group    sync.WaitGroup // all goroutines of the store and what it made

	incarnations incarnations

	mu         sync.Mutex // guards the fields below
	lastLease  lastLease
	unreadable map[string]int64 // the revision in which a key was last complained of
}

var _ driver.Store = (*Store)(nil)

// Open connects to etcd and returns once it has answered a read. It returns a
// [driver.ErrDenied] as soon as etcd is there and does not let this node in, another
// [rebind.ErrUnavailable] when ctx ends before it has answered, and another error for an etcd
// in which no plane can be kept: a version that breaks the order of its own streams, endpoints
// of two clusters, a proxy that answers no request for progress. Close the store when done.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of store: %w", err)
	}
	cfg.defaults()
	s := &Store{
		cfg:        cfg,
		keys:       newKeys(cfg.Prefix, cfg.Plane),
		access:     newAccess(&cfg),
		log:        cfg.Logger,
		lastLease:  lastLease{id: clientv3.LeaseID(cfg.LastLease)},
		unreadable: make(map[string]int64),
	}
	s.ctx, s.halt = context.WithCancel(context.Background())
	s.waits, s.endWaits = context.WithCancel(context.Background())
	s.incarnations.base, s.incarnations.log = s.ctx, s.log
	s.incarnations.current = newIncarnation(s.ctx)
	s.prober = newMemberProber(s)
	var err error
	for _, c := range []**clientv3.Client{&s.client, &s.renewals} {
		if *c, err = s.connect(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.loads, err = s.loader(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.probe(ctx); err != nil {
		what := "does not answer"
		switch {
		case errors.Is(err, driver.ErrDenied):
			what = "does not let this node in"
		case errors.Is(err, errNotEtcd):
			what = "cannot be used"
		}
		return nil, errors.Join(fmt.Errorf("etcd%s %s: %w", cfg.where(), what, err), s.Close())
	}
	if err := s.prober.examine(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("etcd%s cannot be used: %w", cfg.where(), err), s.Close())
	}
	return s, nil
}

// connect makes a client of etcd.
func (s *Store) connect() (*clientv3.Client, error) {
	var client *clientv3.Client
	var err error
	if s.cfg.Client == nil {
		client, err = s.access.dial(s.cfg.Endpoints, s.prober.options()...)
	} else if client, err = s.cfg.Client(); err != nil {
		err = fmt.Errorf("connect to etcd: %w", err)
	}
	if err != nil {
		return nil, err
	}
	guardClient(s, client)
	return client, nil
}

// loader makes the client for large reads.
func (s *Store) loader() (*clientv3.Client, error) {
	if s.cfg.Client != nil {
		return s.client, nil
	}
	client, err := bulkClient(s, &s.loaded)
	if err == nil {
		guardClient(s, client)
	}
	return client, err
}

// where says where etcd is, to be put after its name.
func (c *Config) where() string {
	if c.Client != nil {
		return ""
	}
	if proxy := proxyFor(c.Endpoints[0]); proxy != "" { // the first one's counts for all
		return fmt.Sprintf(" at %v, by way of the proxy %s that HTTPS_PROXY names (NO_PROXY leaves hosts out),", c.Endpoints, proxy)
	}
	return fmt.Sprintf(" at %v", c.Endpoints)
}

// probe reads until something answers, because the client connects lazily.
func (s *Store) probe(ctx context.Context) error {
	for pause := retry.NewBackoff(maxPause); ; {
		err := s.readOnce(ctx)
		if err == nil || errors.Is(err, driver.ErrDenied) || errors.Is(err, errNotEtcd) {
			return s.access.explain(ctx, s.client, err)
		}
		if retry.Wait(ctx, pause.Next()) != nil {
			return err
		}
	}
}

// readOnce reads once. It does not wait for connections of which none can succeed.
func (s *Store) readOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer s.access.whenHopeless(cancel)()
	_, err := s.Head(ctx)
	if err == nil || errors.Is(err, driver.ErrDenied) || s.cfg.Client != nil {
		return err
	}
	look, done := context.WithTimeout(s.ctx, callTimeout)
	defer done()
	if why := s.access.diagnoseAll(look, s.cfg.Endpoints); why != nil {
		return why
	}
	return err
}

// Close ends everything that the store has started, including its presences, and blocks until
// it has ended. It revokes no lease: call Leave first.
func (s *Store) Close() error {
	s.halt()
	var err error
	for i, c := range []*clientv3.Client{s.client, s.renewals, s.loads} {
		if c == nil || i > 0 && c == s.client {
			continue
		}
		// This also frees what hangs in a call without a deadline.
		if e := c.Close(); e != nil && !errors.Is(e, context.Canceled) {
			err = errors.Join(err, fmt.Errorf("close etcd client: %w", e))
		}
	}
	s.endWaits()
	s.group.Wait()
	return err
}

// TTL returns the time to live of leases: what etcd granted last or, before that, what it is
// asked for.
func (s *Store) TTL() time.Duration {
	if granted := s.granted.Load(); granted != 0 {
		return time.Duration(granted)
	}
	return s.cfg.TTL
}

// Health returns what is known of etcd as a whole.
func (s *Store) Health() driver.Health {
	notes, refuses := s.prober.health()
	if granted := s.TTL(); granted != s.cfg.TTL {
		notes = append(notes, fmt.Sprintf("etcd grants leases %s and was asked for %s: a failover takes as much longer", granted, s.cfg.TTL))
	}
	return driver.Health{Refuses: refuses, Notes: notes}
}

// Restored begins a new incarnation, unless somebody else has done so since the given one.
func (s *Store) Restored(life uint64, how string) error { return s.incarnations.endedBy(life, how) }

// Incarnation counts how often the store turned out to be restored.
func (s *Store) Incarnation() uint64 { return s.incarnations.ask().incarnation.number }

// Head returns the store's present revision by a linearizable read.
func (s *Store) Head(ctx context.Context) (rebind.Revision, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	asked := s.incarnations.ask()
	resp, err := s.client.Get(ctx, s.keys.meta(), clientv3.WithCountOnly())
	if err != nil {
		return 0, s.access.meaning(err)
	}
	return rebind.Revision(resp.Header.Revision), s.incarnations.answered(asked, resp.Header)
}

// History returns the latest terms, newest first.
func (s *Store) History(ctx context.Context) ([]driver.HistoryEntry, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.client.Get(ctx, s.keys.history(), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(maxHistory))
	if err != nil {
		return nil, fmt.Errorf("read history: %w", translate(err))
	}
	entries := make([]driver.HistoryEntry, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		e, err := decodeJSON[driver.HistoryEntry](kv.Value)
		if err != nil {
			s.complain(kv, err)
			continue
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// bound gives a call a deadline if it has none, and ends it with the store.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return s.boundFor(ctx, 0)
}

// slowLink is how many bytes per second a slow link carries at least.
const slowLink = 64 << 10

// boundFor is bound for a call that carries so many bytes, which take time.
func (s *Store) boundFor(ctx context.Context, size int) (context.Context, context.CancelFunc) {
	limit := callTimeout + time.Duration(size)*time.Second/slowLink
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(s.ctx, cancel)
	return bounded, func() { stop(); cancel() }
}
