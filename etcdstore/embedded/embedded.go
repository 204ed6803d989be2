// Package embedded runs a one-member etcd in this process. It is separate from package
// etcdstore, so that a program with an external etcd never compiles the server.
//
// The member serves clients only; it has no peers and opens no port for them. Its data
// directory is locked while it runs. It syncs every write to disk, compacts history older
// than ten minutes, and ends with the process: once [Etcd.Failed] is closed, the store is
// gone and cannot come back.
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
	// Dir is the data directory. It is created if it is missing.
	Dir string
	// ClientURL is where clients connect, such as http://127.0.0.1:2379. Port 0 chooses a
	// free one: see [Etcd.Endpoint]. Every user of the machine can reach it. If it is
	// empty, the member listens on a socket that only this process's user and root can
	// open.
	ClientURL string
	// Logger logs etcd's warnings; nil disables that.
	Logger *zap.Logger
}

const (
	// quota is the size at which the member refuses writes: the largest that etcd
	// recommends.
	quota = 8 << 30
	// retention is how long history is kept for watches and reads of the past.
	retention = "10m"
	// memberName must be unique within a cluster; this cluster has one member.
	memberName = "coordinator"
)

// ErrInvalid is returned for a configuration that cannot work.
var ErrInvalid = errors.New("invalid configuration")

// Etcd is a running member.
type Etcd struct {
	etcd   *embed.Etcd
	level  zap.AtomicLevel
	lock   *filelock.Lock
	socket *socket // nil if it listens on a port
	failed chan struct{}
	done   chan struct{}
}

// Start runs a member and returns when it serves, or why it does not. It returns a
// [filelock.ErrHeld] if another process uses the directory. ctx bounds the start, not the
// member: close that when done.
func Start(ctx context.Context, cfg Config) (*Etcd, error) {
	// During start and stop etcd complains about intended settings.
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
	etcd.Server.Stop() // closing a member that is not ready blocks forever
	etcd.Close()
	return nil, errors.Join(fmt.Errorf("etcd in %s is not ready: %w", cfg.Dir, err), e.socket.remove(), lock.Release())
}

// begin starts the member in a directory that is locked by this process.
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
		// etcd's own error for a port that is in use does not name the setting.
		if err := checkFree(client.Host); err != nil {
			return err
		}
	}
	if err := clearAbortedBootstrap(cfg.Dir, cfg.logger()); err != nil {
		return err
	}
	if e.etcd, err = embed.StartEtcd(cfg.embed(client, e.level)); err != nil {
		return fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	return nil
}

// Validate reports what is wrong with c. It has no side effects.
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

// watch reports a member that ends by itself.
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

// Endpoint returns where clients connect.
func (e *Etcd) Endpoint() string {
	if e.socket != nil {
		return e.socket.url().String()
	}
	return "http://" + e.etcd.Clients[0].Addr().String()
}

// Failed returns a channel that is closed when the member has stopped, by Close or by
// itself.
func (e *Etcd) Failed() <-chan struct{} { return e.failed }

// Close stops the member and blocks until it has stopped. Close its clients first: it waits
// several seconds for those that are still connected.
func (e *Etcd) Close() error {
	e.level.SetLevel(zap.FatalLevel)
	e.etcd.Close()
	<-e.done
	return errors.Join(e.socket.remove(), e.lock.Release())
}

// ReadyTimeout is long enough for a healthy member to start even on a slow machine.
const ReadyTimeout = 30 * time.Second
