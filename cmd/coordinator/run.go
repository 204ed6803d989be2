package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
	"github.com/coordinator-ha/coordinator/rebind"
)

func newRun(s streams) *cobra.Command {
	var cfg runConfig
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Start a node",
		Long: `Start a node of a plane and serve its API.

Without --endpoints the node brings an etcd of its own, which lives and dies with
it. Fault tolerance starts with a store of its own: see "coordinator store" to try
that out on one machine.

The first SIGTERM or SIGINT hands mastership over and leaves the plane, within ten
seconds; a second one ends the process at once.

Every flag but --persist can be given in the environment as well, COORDINATOR_NODE_ID
for --node-id, and as a key of the YAML file that --config names: node-id. A flag wins
over the environment, and that over the file. "coordinator config" shows, checks and
explains settings. SIGHUP has the node read its file again, and ends nothing.

Mode disabled takes the plane for this node alone: it starts only where no other
node lives, and none can join while it does. With --persist disabled it brings an
etcd that keeps nothing, in the directory of temporary files ($TMPDIR), or the data
directory where there is none.`,
		Example: `  coordinator run
  coordinator run --endpoints 127.0.0.1:2379 --listen 127.0.0.1:7401 --node-id b --mode hot_standby`,
		Args: cobra.NoArgs,
	}
	settings := cfg.settings()
	cmd.Flags().AddFlagSet(settings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		chosen, err := cfg.resolve(settings)
		if err != nil {
			return err
		}
		return cfg.log.serving(cmd, s, func(log *logger) error {
			d := &daemon{
				cfg: cfg, settings: settings, strays: strayVariables(cmd.Root()), chosen: chosen, log: log.Logger, logged: log,
				hangups: make(chan struct{}, 1),
			}
			ctx, stop := heedSignals(cmd.Context(), d.log, d.hangup)
			defer stop()
			return d.run(ctx)
		})
	}
	return cmd
}

// daemon is the wiring of one node: its directory, its store and its API.
type daemon struct {
	cfg      runConfig
	settings *pflag.FlagSet // where cfg comes from
	strays   []string       // what was probably meant to be a setting
	chosen   choices
	log      *zap.Logger
	logged   *logger
	hangups  chan struct{} // holds a token while the file of settings is to be read again

	// What open has opened, and how to close it, in that order.
	listener    net.Listener
	uri         string // where others reach the API
	secured     secured
	dir         *nodeDir
	node        *coordinator.Node
	telemetry   *telemetry.Telemetry
	storeFailed <-chan struct{} // closed when the embedded etcd has ended; nil without one
	opened      []func() error
}

// later has close called at the end, after what is opened from here on.
func (d *daemon) later(close func() error) { d.opened = append(d.opened, close) }

func (d *daemon) close() error {
	var err error
	for _, c := range slices.Backward(d.opened) {
		err = errors.Join(err, c())
	}
	return err
}

// run runs the node until ctx ends or it cannot go on.
func (d *daemon) run(ctx context.Context) error {
	err := d.open(ctx)
	switch {
	case err == nil:
		err = d.serve(ctx)
	case ctx.Err() != nil:
		d.log.Info("stopped before it had started", zap.Error(err))
		err = nil
	}
	return errors.Join(err, d.close())
}

// open opens everything, from what can be refused most cheaply to what others
// see, so that a node that cannot run leaves nothing behind.
func (d *daemon) open(ctx context.Context) error {
	if d.cfg.persist == persistDisabled {
		if err := d.keepNothing(); err != nil {
			return err
		}
	}
	d.nameStore()
	d.nameSettings()
	var err error
	if d.secured, err = d.cfg.secure.read(d.log); err != nil {
		return err
	}
	if err := d.openDir(ctx); err != nil {
		return err
	}
	if d.listener, err = net.Listen("tcp", d.cfg.listen); err != nil {
		return usageError{fmt.Errorf("listen: %w", err)}
	}
	d.later(func() error { return ignoreClosed(d.listener.Close()) })
	if d.uri, err = d.cfg.advertised(d.listener.Addr()); err != nil {
		return usageError{err}
	}
	d.warn()
	if err := d.openTelemetry(ctx); err != nil {
		return err
	}
	endpoints, err := d.startStore(ctx)
	if err != nil {
		return err
	}
	store, err := d.openStore(ctx, endpoints)
	if err != nil {
		return err
	}
	d.later(store.Close)
	d.node, err = coordinator.New(coordinator.Config{
		ID: d.cfg.nodeID, Plane: d.cfg.plane, URI: d.uri, Version: version(),
		Mode: d.chosen.mode, Priority: d.cfg.priority,
		PlaneID:       d.cfg.planeID,
		Persist:       d.chosen.persist,
		Rules:         rebind.Rules{Policy: d.chosen.policy},
		HighestTerm:   d.dir.highestTerm,
		OnTerm:        d.dir.noteTerm,
		ColdStandby:   d.cfg.autoStandby == "cold",
		WaitForMaster: d.cfg.waitForMaster,
		MaxPayload:    d.cfg.maxMemento,
		OwnsStore:     len(d.cfg.endpoints) == 0,
		StillAlive:    d.stillAlive,
		Trouble:       d.dir.Trouble,
		Observe:       d.telemetry.Transition,
		Logger:        d.log,
	}, d.telemetry.Store(store))
	if err != nil {
		return usageError{err}
	}
	return nil
}

// openDir takes the node's directory. One that cannot be used keeps no node from running
// whose store is elsewhere.
func (d *daemon) openDir(ctx context.Context) error {
	path := filepath.Join(d.cfg.dataDir, "nodes", d.cfg.plane, d.cfg.nodeID)
	external, limit := len(d.cfg.endpoints) > 0, ctx
	if external {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, diskWithin)
		defer cancel()
	}
	dir, err := openDir(limit, path)
	switch {
	case err == nil:
		d.dir = dir
	case external && ctx.Err() == nil && unusable(err):
		d.log.Warn("data directory cannot be used, going on without notes", zap.Error(err))
		d.dir = newNodeDir(path)
		d.dir.is(err)
	default:
		return err
	}
	d.later(d.dir.Close)
	return nil
}

// keepNothing has everything that the node would keep in a directory that ends with
// it: where the system has temporary files, or else, as in an image that has no such
// place, in the data directory.
func (d *daemon) keepNothing() error {
	dir, err := os.MkdirTemp("", "coordinator-")
	if err != nil {
		var inData error
		if inData = os.MkdirAll(d.cfg.dataDir, 0o700); inData == nil {
			dir, inData = os.MkdirTemp(d.cfg.dataDir, "coordinator-")
		}
		if inData != nil {
			return usageError{fmt.Errorf("persist disabled: no directory for what is not kept; set TMPDIR or --data-dir to where one can be made: %w; %w", err, inData)}
		}
	}
	d.later(func() error { return os.RemoveAll(dir) })
	d.cfg.dataDir = dir
	return nil
}

// warn says what an operator may not have meant.
func (d *daemon) warn() {
	d.secured.warn(d.cfg.listen, d.log)
	if len(d.cfg.endpoints) == 0 {
		warnOfEmbedded(d.embedURL(), d.cfg.secure.controlled(), d.log)
	}
	advertised, err := url.Parse(d.uri)
	if err != nil || !isLoopback(advertised.Hostname()) {
		return
	}
	for _, e := range d.cfg.endpoints {
		if !isLoopback(endpointHost(e)) {
			d.log.Warn("other machines on this store cannot reach this node at the URL it advertises; set --advertise-url",
				zap.String("advertise_url", d.uri))
			return
		}
	}
}

// endpointHost is the host of an etcd endpoint, written with a scheme or without; that of a
// socket is this machine.
func endpointHost(endpoint string) string {
	if strings.HasPrefix(endpoint, "unix:") || strings.HasPrefix(endpoint, "unixs:") {
		return "localhost"
	}
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		return u.Hostname()
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return endpoint
	}
	return host
}

// nameStore says, before anything else, which store it is and what named it.
func (d *daemon) nameStore() {
	setBy := zap.Stringer("set_by", originOf(d.settings.Lookup("endpoints")))
	if len(d.cfg.endpoints) > 0 {
		d.log.Info("store is an external etcd", zap.Strings("endpoints", d.cfg.endpoints), setBy)
		return
	}
	at := zap.String("client_url", d.cfg.embedURL)
	if d.embedURL() == "" {
		at = zap.String("client_url", "a socket that only this user can open; other nodes on this machine need --embed-client-url")
	}
	d.log.Info("store is the embedded etcd", zap.String("data_dir", d.cfg.dataDir), at, setBy)
}

// embedURL is where the embedded etcd listens, empty for a socket of this user's alone:
// where the API asks callers who they are, no other user of this machine is to go round
// it, unless the operator has said where to listen.
func (d *daemon) embedURL() string {
	if d.cfg.secure.controlled() && originOf(d.settings.Lookup("embed-client-url")).Kind == originDefault {
		return ""
	}
	return d.cfg.embedURL
}

// nameSettings says which settings are not the defaults, and where they come from.
func (d *daemon) nameSettings() {
	var given []string
	d.settings.VisitAll(func(f *pflag.Flag) {
		if o := originOf(f); o.Kind != originDefault {
			given = append(given, f.Name+" from "+o.String())
		}
	})
	if len(given) > 0 {
		d.log.Info("settings that are not the defaults", zap.Strings("settings", given))
	}
	for _, stray := range d.strays {
		d.log.Warn("variable of the environment is ignored", zap.String("why", stray))
	}
}

// startStore starts the store where it is this process's own, and returns where
// it is reached.
func (d *daemon) startStore(ctx context.Context) ([]string, error) {
	if len(d.cfg.endpoints) > 0 {
		return d.cfg.endpoints, nil
	}
	etcd, err := startEmbedded(ctx, d.cfg.dataDir, d.embedURL(), d.log)
	if err != nil {
		return nil, err
	}
	d.later(etcd.Close)
	d.storeFailed = etcd.Failed()
	return []string{etcd.Endpoint()}, nil
}

func (d *daemon) openStore(ctx context.Context, endpoints []string) (*etcdstore.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.storeTimeout)
	defer cancel()
	cfg := d.cfg.store(endpoints)
	cfg.LastLease, cfg.OnLease, cfg.StillAlive, cfg.Logger = d.dir.lastLease, d.dir.noteLease, d.stillAlive, d.log
	cfg.OnRenewal, cfg.DialOptions = d.telemetry.Renewal, d.telemetry.DialOptions()
	store, err := etcdstore.Open(ctx, cfg)
	if err == nil || errors.Is(err, rebind.ErrUnavailable) {
		return store, err
	}
	return nil, usageError{err}
}

// shutdownTimeout is how long the API's last answers may take.
const shutdownTimeout = 2 * time.Second

var errStoreEnded = errors.New("the embedded etcd has ended, see its last messages above")

// serve runs node and API side by side. The API outlasts the node, so that its
// clients are told what becomes of it.
func (d *daemon) serve(ctx context.Context) error {
	still := clock.NewStandstill()
	api := httpapi.New(httpapi.Config{
		Standstill: still,
		Node:       d.telemetry.Node(d.node), MaxPayload: d.cfg.maxMemento, SpoolDir: d.dir.spool(),
		Access: d.secured.access, Names: ownNames(d.cfg.listen), Peers: d.secured.peers,
		Metrics: d.telemetry.Exposition(), Transport: d.telemetry.Transport, Logger: d.log, LogLevel: d.logged.level,
	})
	defer api.Close()
	server := api.HTTPServer()
	server.Handler = d.telemetry.Handler(server.Handler)
	d.log.Info("API is served", zap.String("listen", d.listener.Addr().String()), zap.String("advertise_url", d.uri))
	group, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	group.Go(func() error {
		if err := d.secured.serve(server, d.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve API: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		d.dir.keep(ended, d.log)
		return nil
	})
	group.Go(func() error {
		still.Watch(ended)
		return nil
	})
	group.Go(func() error { return supervise(ctx, ended, d.node.Status, d.log) })
	group.Go(func() error {
		boundGarbage(ended)
		return nil
	})
	group.Go(func() error {
		defer close(ended)
		err := d.node.Run(ctx)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close() // what has not ended by now is cut off
		}
		return err
	})
	group.Go(func() error {
		d.rereadOnHangup(ctx, ended)
		return nil
	})
	group.Go(func() error {
		select {
		case <-d.storeFailed:
			return errStoreEnded
		case <-ended:
			return nil
		}
	})
	return group.Wait()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
