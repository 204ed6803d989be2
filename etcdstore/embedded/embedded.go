// Package embedded runs an etcd of one member inside this process. It stands
// apart from package etcdstore so that a program which brings an etcd of its own
// never compiles the server.
//
// The member listens for clients only; it has no peers and opens no port for
// them. Its data directory is locked while it runs. It syncs every write to disk,
// compacts history older than ten minutes, and shares the fate of the process:
// when [Etcd.Failed] is closed the store is gone and cannot come back.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/filelock"
	"github.com/coordinator-ha/coordinator/internal/hostport"
)

// Config says where the member keeps its data and listens. All fields but Logger
// are required.
type Config struct {
	// Dir holds the member's data. It is made if it is not there.
	Dir string
	// ClientURL is where clients connect, such as http://127.0.0.1:2379. Port 0
	// takes a free one: see [Etcd.Endpoint].
	ClientURL string
	// Logger gets what etcd warns of; nil means nowhere.
	Logger *zap.Logger
}

const (
	// quota is the size at which the member takes no more writes: the most that
	// etcd suggests.
	quota = 8 << 30
	// retention is how much history is kept for watches and reads of the past.
	retention = "10m"
	// memberName must be unique among the members of a cluster; this is one.
	memberName = "coordinator"
)

// ErrInvalid is returned for a configuration that cannot work.
var ErrInvalid = errors.New("invalid configuration")

// Etcd is a running member.
type Etcd struct {
	etcd   *embed.Etcd
	level  zap.AtomicLevel
	lock   *filelock.Lock
	failed chan struct{}
	done   chan struct{}
}

// Start runs a member and returns when it serves, or why it does not. It returns
// a [filelock.ErrHeld] if another process uses the directory. ctx bounds the
// start, not the member: close that when done.
func Start(ctx context.Context, cfg Config) (*Etcd, error) {
	// While it starts and stops etcd complains of what is meant to be so.
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	ec, err := cfg.embed(level)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: make data directory: %w", ErrInvalid, err)
	}
	// etcd itself would wait for the other process to end.
	lock, err := filelock.Take(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	// The same goes for its port: etcd's own error does not name the setting.
	if err := checkFree(ec.ListenClientUrls[0].Host); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	if err := clearUnborn(cfg.Dir, cfg.logger()); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd in %s: %w", cfg.Dir, err), lock.Release())
	}
	e := &Etcd{etcd: etcd, level: level, lock: lock, failed: make(chan struct{}), done: make(chan struct{})}
	select {
	case <-etcd.Server.ReadyNotify():
		level.SetLevel(zap.WarnLevel)
		go e.watch()
		return e, nil
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	etcd.Server.Stop() // closing a member that is not ready blocks for ever
	etcd.Close()
	return nil, errors.Join(fmt.Errorf("etcd in %s is not ready: %w", cfg.Dir, err), lock.Release())
}

// Validate reports what is wrong with c, without touching anything.
func (c *Config) Validate() error {
	_, err := c.clientURL()
	return err
}

func (c *Config) clientURL() (*url.URL, error) {
	client, err := url.Parse(c.ClientURL)
	if err != nil || client.Scheme != "http" || client.Host == "" || client.User != nil || client.Path+client.RawQuery+client.Fragment != "" {
		return nil, fmt.Errorf("%w: client URL %q: write it as http://host:port", ErrInvalid, c.ClientURL)
	}
	if err := hostport.Listen(client.Host); err != nil {
		return nil, fmt.Errorf("%w: client URL %q: %w", ErrInvalid, c.ClientURL, err)
	}
	return client, nil
}

func (c *Config) logger() *zap.Logger {
	if c.Logger == nil {
		return zap.NewNop()
	}
	return c.Logger
}

func (c *Config) embed(level zap.AtomicLevel) (*embed.Config, error) {
	client, err := c.clientURL()
	if err != nil {
		return nil, err
	}
	log := c.logger().Named("etcd").WithOptions(zap.IncreaseLevel(level))
	ec := embed.NewConfig()
	ec.Name = memberName
	ec.Dir = c.Dir
	ec.ListenClientUrls = []url.URL{*client}
	ec.AdvertiseClientUrls = []url.URL{*client}
	ec.ListenPeerUrls = nil
	ec.InitialCluster = ec.InitialClusterFromName(memberName)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	ec.QuotaBackendBytes = quota
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = retention
	ec.EnableGRPCGateway = false
	return ec, nil
}

func checkFree(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: client URL: %w", ErrInvalid, err)
	}
	return l.Close()
}

// watch tells of a member that ends by itself.
func (e *Etcd) watch() {
	defer close(e.done)
	defer close(e.failed)
	for {
		select {
		case <-e.etcd.Server.StopNotify():
			return
		case err, open := <-e.etcd.Err():
			if err != nil || !open {
				return
			}
		}
	}
}

// Endpoint is where clients connect.
func (e *Etcd) Endpoint() string { return "http://" + e.etcd.Clients[0].Addr().String() }

// Failed returns a channel that is closed when the member has stopped, by Close
// or by itself.
func (e *Etcd) Failed() <-chan struct{} { return e.failed }

// Close stops the member and blocks until it has stopped. Close its clients
// first: it waits several seconds for those that are still connected.
func (e *Etcd) Close() error {
	e.level.SetLevel(zap.FatalLevel)
	e.etcd.Close()
	<-e.done
	return e.lock.Release()
}

// ReadyTimeout is a time within which a healthy member starts even on a slow
// machine.
const ReadyTimeout = 30 * time.Second
