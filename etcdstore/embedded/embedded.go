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

// Config says where the member keeps its data and listens. Dir is required.
type Config struct {
	// Dir holds the member's data. It is made if it is not there.
	Dir string
	// ClientURL is where clients connect, such as http://127.0.0.1:2379. Port 0
	// takes a free one: see [Etcd.Endpoint]. Every user of the machine reaches it. Empty
	// stands for a socket that only this process's user can open, and root.
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
	socket *socket // nil where it listens on a port
	failed chan struct{}
	done   chan struct{}
}

// Start runs a member and returns when it serves, or why it does not. It returns
// a [filelock.ErrHeld] if another process uses the directory. ctx bounds the
// start, not the member: close that when done.
func Start(ctx context.Context, cfg Config) (*Etcd, error) {
	// While it starts and stops etcd complains of what is meant to be so.
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	if err := cfg.Validate(); err != nil {
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
	e := &Etcd{level: level, lock: lock, failed: make(chan struct{}), done: make(chan struct{})}
	if err := e.begin(&cfg); err != nil {
		return nil, errors.Join(err, e.socket.remove(), lock.Release())
	}
	etcd := e.etcd
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
	return nil, errors.Join(fmt.Errorf("etcd in %s is not ready: %w", cfg.Dir, err), e.socket.remove(), lock.Release())
}

// begin has the member begin to start, in a directory that is its own.
func (e *Etcd) begin(cfg *Config) error {
	var client *url.URL
	var err error
	if cfg.ClientURL == "" {
		if e.socket, err = makeSocket(cfg.Dir); err != nil {
			return err
		}
		client = e.socket.url()
	} else {
		if client, err = cfg.clientURL(); err != nil {
			return err
		}
		// etcd's own error of a port that is taken does not name the setting.
		if err := checkFree(client.Host); err != nil {
			return err
		}
	}
	if err := clearUnborn(cfg.Dir, cfg.logger()); err != nil {
		return err
	}
	if e.etcd, err = embed.StartEtcd(cfg.embed(client, e.level)); err != nil {
		return fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	return nil
}

// Validate reports what is wrong with c, without touching anything.
func (c *Config) Validate() error {
	if c.ClientURL == "" {
		return nil
	}
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

func (c *Config) embed(client *url.URL, level zap.AtomicLevel) *embed.Config {
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
	return ec
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
func (e *Etcd) Endpoint() string {
	if e.socket != nil {
		return e.socket.url().String()
	}
	return "http://" + e.etcd.Clients[0].Addr().String()
}

// Failed returns a channel that is closed when the member has stopped, by Close
// or by itself.
func (e *Etcd) Failed() <-chan struct{} { return e.failed }

// Close stops the member and blocks until it has stopped. Close its clients
// first: it waits several seconds for those that are still connected.
func (e *Etcd) Close() error {
	e.level.SetLevel(zap.FatalLevel)
	e.etcd.Close()
	<-e.done
	return errors.Join(e.socket.remove(), e.lock.Release())
}

// ReadyTimeout is a time within which a healthy member starts even on a slow
// machine.
const ReadyTimeout = 30 * time.Second
