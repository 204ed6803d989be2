package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file connects to etcd: addresses, TLS (tls.go), login (login.go), and what it means if
// that fails.

// access is how etcd is reached, and as which user. It is set when the store is opened and
// does not change.
type access struct {
	secure *handshakes // nil where connections are in clear
	login  *login      // nil where there is no user
	more   []grpc.DialOption
	log    *zap.Logger
}

// newAccess takes a valid configuration.
func newAccess(cfg *Config) access {
	a := access{secure: newHandshakes(cfg), login: newLogin(cfg), more: cfg.DialOptions, log: cfg.Logger}
	if cfg.Client == nil {
		if proxy := proxyFor(cfg.Endpoints[0]); proxy != "" {
			a.log.Warn("etcd is reached by way of a proxy that the environment names", zap.String("proxy", proxy), zap.Strings("endpoints", cfg.Endpoints))
		}
	}
	if a.login != nil && a.secure == nil {
		a.log.Warn("the password goes to etcd in clear, and so does everything else; use TLS", zap.Strings("endpoints", cfg.Endpoints))
	}
	return a
}

// checkAccess returns what is wrong with how etcd is to be reached and logged in to.
func (c *Config) checkAccess() error {
	if c.Client != nil {
		if len(c.Endpoints) > 0 || c.TLS != nil || c.User != "" || c.Password != nil || len(c.DialOptions) > 0 {
			return errors.New("a client knows by itself how etcd is reached: leave out endpoints, TLS, user, password and dial options")
		}
		return nil
	}
	var err error
	for _, e := range c.Endpoints {
		if scheme(e) != scheme(c.Endpoints[0]) {
			err = fmt.Errorf("endpoints %v: use one scheme for all: the first one's would count", c.Endpoints)
		}
	}
	if c.TLS != nil {
		if len(c.Endpoints) > 0 && !c.secured() {
			err = errors.Join(err, fmt.Errorf("endpoint %s is in clear, and TLS is configured: write it with https://", c.Endpoints[0]))
		}
		_, tlsErr := c.TLS()
		err = errors.Join(err, tlsErr)
	}
	switch {
	case (c.User == "") != (c.Password == nil):
		err = errors.Join(err, errors.New("a user needs a password and a password a user: give both or neither"))
	case c.Password != nil:
		_, passwordErr := c.Password()
		err = errors.Join(err, passwordErr)
	}
	return err
}

// scheme returns the scheme of an endpoint, empty if it has none.
func scheme(endpoint string) string {
	before, _, ok := strings.Cut(endpoint, ":")
	switch {
	case ok && (before == "http" || before == "https" || before == "unix" || before == "unixs"):
		return before
	default:
		return ""
	}
}

// secured reports whether connections use TLS, by the rules of etcd's client.
func (c *Config) secured() bool {
	if c.Client != nil {
		return false
	}
	switch scheme(c.Endpoints[0]) {
	case "https", "unixs":
		return true
	case "http":
		return false
	default:
		return c.TLS != nil
	}
}

// dial makes a client of some endpoints. It does not connect yet.
func (a *access) dial(endpoints []string, more ...grpc.DialOption) (*clientv3.Client, error) {
	return a.dialTrying(0, endpoints, more...)
}

// dialTrying is dial for a client that tries a repeatable request so many times; 0 leaves the
// number to etcd's client.
func (a *access) dialTrying(tries uint, endpoints []string, more ...grpc.DialOption) (*clientv3.Client, error) {
	options := append(a.login.options(), grpc.WithConnectParams(reconnect), grpc.WithChainStreamInterceptor(boundWatch))
	if a.secure != nil {
		options = append(options, grpc.WithTransportCredentials(a.secure))
	}
	options = slices.Concat(options, a.more, more)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          dialTimeout,
		MaxUnaryRetries:      tries,
		DialKeepAliveTime:    dialKeepAlive,
		DialKeepAliveTimeout: dialTimeout,
		DialOptions:          options,
		Logger:               a.log.Named("etcd").WithOptions(zap.IncreaseLevel(zap.ErrorLevel)),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", endpoints, err)
	}
	return client, nil
}

// reconnect sets the time between two tries to connect to an endpoint. grpc's default grows to
// two minutes.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
	MinConnectTimeout: 10 * time.Second,
}

// whenHopeless calls cancel once no endpoint can be connected to for a reason that does not go
// away by itself, until the returned function is called.
func (a *access) whenHopeless(cancel context.CancelFunc) (stop func() bool) {
	if a.secure == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(a.secure.hopeless, cancel)
}

// meaning is translate for a request that had to connect first: it knows why connections could
// not be secured, where etcd's client only reports that it waited.
func (a *access) meaning(err error) error {
	err = translate(err)
	if errors.Is(err, rebind.ErrUnavailable) && !errors.Is(err, driver.ErrDenied) {
		if refusal := a.secure.refusal(); refusal != nil {
			return refusal
		}
	}
	return err
}

// explain adds to a refused permission which user it was refused to, and the roles that user
// has.
func (a *access) explain(ctx context.Context, client *clientv3.Client, err error) error {
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return err
	}
	user := a.user()
	if user == "" {
		return err
	}
	found, lookErr := client.UserGet(ctx, user)
	switch {
	case errors.Is(lookErr, rpctypes.ErrUserNotFound):
		return fmt.Errorf("%w: it has no user %q", err, user)
	case lookErr != nil:
		return fmt.Errorf("%w: the user is %q", err, user)
	default:
		return fmt.Errorf("%w: the user is %q, and of his roles %q none allows it", err, user, found.Roles)
	}
}

// user returns the name under which etcd knows this node, empty if it is not known here.
func (a *access) user() string {
	if a.login != nil {
		return a.login.user
	}
	if a.secure == nil {
		return ""
	}
	cfg, _ := a.secure.source()
	if cfg == nil {
		return ""
	}
	if leaf := clientLeaf(cfg); leaf != nil {
		return leaf.Subject.CommonName
	}
	return ""
}

// Dial makes a client of etcd as c says, without a store, for tools that change something
// else in etcd. It waits for etcd's first answer as long as ctx allows, and returns why there
// can be none. explain gives errors of the client their meaning, such as
// [driver.ErrDenied]. Close the client when done.
func (c Config) Dial(ctx context.Context) (client *clientv3.Client, explain func(error) error, err error) {
	if err := c.checkAccess(); err != nil {
		return nil, nil, err
	}
	c.defaults()
	a := newAccess(&c)
	if client, err = a.dial(c.Endpoints); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.whenHopeless(cancel)()
	err = firstAnswer(ctx, client)
	if err != nil && !errors.Is(a.meaning(err), driver.ErrDenied) && ctx.Err() == nil {
		if why := a.diagnoseAll(ctx, c.Endpoints); why != nil {
			return nil, nil, errors.Join(fmt.Errorf("etcd%s cannot be used: %w", c.where(), why), client.Close())
		}
		_, err = client.AuthStatus(ctx) // it may be about to start
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ask etcd whether its auth is enabled: %w", a.meaning(err)), client.Close())
	}
	return client, a.meaning, nil
}

// firstAnswer asks etcd something, and does not wait long for it.
func firstAnswer(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := client.AuthStatus(ctx)
	return err
}
