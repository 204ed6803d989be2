// The command run: it wires up a node, its store and its API.

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/apiserver"
	"github.com/coordinator-ha/coordinator/internal/telemetry"
	"github.com/coordinator-ha/coordinator/rebind"
)

func newRun(s streams) *cobra.Command {
	var cfg runConfig
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Start a node",
		Long: `Start a node of a plane and serve its API.

Without --endpoints the node starts an embedded etcd, which stops with the node.
Fault tolerance needs a store that does not: see "coordinator store" to try it on one
machine.

The first SIGTERM or SIGINT hands mastership over and leaves the plane, within ten
seconds; a second one ends the process at once.

Every flag except --persist can also be given as an environment variable,
COORDINATOR_NODE_ID for --node-id, and as a key of the YAML file that --config names,
node-id. A flag takes precedence over the environment, and the environment over the
file. "coordinator config" shows, checks and explains settings. SIGHUP makes the node
read its file again; it does not stop the node.

Mode disabled takes the plane for this node alone: it starts only if no other node is
live, and no other can join while it runs. With --persist disabled the node starts an
etcd that keeps nothing, in the directory for temporary files ($TMPDIR), or in the data
directory if there is none.`,
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
				cfg: cfg, settings: settings, unknown: unknownVariables(cmd.Root()), chosen: chosen, log: log.Logger, logged: log,
				hangups: make(chan struct{}, 1),
			}
			ctx, stop := handleSignals(cmd.Context(), d.log, d.requestReload)
			defer stop()
			return d.run(ctx)
		})
	}
	return cmd
}

// daemon wires up one node: its directory, its store and its API.
type daemon struct {
	cfg      runConfig
	settings *pflag.FlagSet // the flags behind cfg
	unknown  []string       // warnings about variables that look like settings
	chosen   choices
	log      *zap.Logger
	logged   *logger
	hangups  chan struct{} // holds a token when the settings file is to be read again

	// Set by open, in this order; closers undo it.
	listener    net.Listener
	uri         string // where others reach the API
	secured     apiserver.Security
	dir         *nodeDir
	node        *coordinator.Node
	telemetry   *telemetry.Telemetry
	storeFailed <-chan struct{} // closed when the embedded etcd has ended; nil without one
	closers     []func() error
}

// onClose registers close to be called at the end, after what is opened later.
func (d *daemon) onClose(close func() error) { d.closers = append(d.closers, close) }

func (d *daemon) close() error {
	var err error
	for _, c := range slices.Backward(d.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// run runs the node until ctx ends or the node cannot go on.
func (d *daemon) run(ctx context.Context) error {
	err := d.open(ctx)
	switch {
	case err == nil:
		err = d.serve(ctx)
	case ctx.Err() != nil:
		d.log.Info("stopped before the start was complete", zap.Error(err))
		err = nil
	}
	return errors.Join(err, d.close())
}

// open opens everything, the cheapest checks first and what others can see last, so that a
// node that cannot run leaves nothing behind.
func (d *daemon) open(ctx context.Context) error {
	if d.cfg.persist == persistDisabled {
		if err := d.useTempDir(); err != nil {
			return err
		}
	}
	d.logStore()
	d.logSettings()
	var err error
	if d.secured, err = d.cfg.secure.Open(d.log); err != nil {
		return usageError{err}
	}
	if err := d.openDir(ctx); err != nil {
		return err
	}
	if d.listener, err = net.Listen("tcp", d.cfg.listen); err != nil {
		return usageError{fmt.Errorf("listen: %w", err)}
	}
	d.onClose(func() error { return ignoreClosed(d.listener.Close()) })
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
	d.onClose(store.Close)
	d.node, err = coordinator.New(coordinator.Config{
		ID: d.cfg.nodeID, Plane: d.cfg.plane, URI: d.uri, Version: version(),
		Mode: d.chosen.mode, Priority: d.cfg.priority,
		PlaneID:       d.cfg.planeID,
		CleanStart:    d.chosen.cleanStart,
		RequireState:  d.chosen.requireState,
		Rules:         d.chosen.rules,
		HighestTerm:   d.dir.highestTerm,
		OnTerm:        d.dir.noteTerm,
		ColdStandby:   d.cfg.autoStandby == "cold",
		WaitForMaster: d.cfg.waitForMaster,
		MaxPayload:    d.cfg.maxMemento,
		OwnsStore:     len(d.cfg.endpoints) == 0,
		StillAlive:    d.stillAlive,
		Trouble:       d.dir.Trouble,
		Observe:       d.telemetry.Transitions(),
		Logger:        d.log,
	}, d.telemetry.Store(store))
	if err != nil {
		return usageError{err}
	}
	return nil
}

// openDir opens the node's directory. With an external store, a directory that cannot be
// used does not keep the node from running.
func (d *daemon) openDir(ctx context.Context) error {
	path := filepath.Join(d.cfg.dataDir, "nodes", d.cfg.plane, d.cfg.nodeID)
	external, limit := len(d.cfg.endpoints) > 0, ctx
	if external {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, diskTimeout)
		defer cancel()
	}
	dir, err := openDir(limit, path)
	switch {
	case err == nil:
		d.dir = dir
	case external && ctx.Err() == nil && unusable(err):
		d.log.Warn("data directory cannot be used, running without notes", zap.Error(err))
		d.dir = newNodeDir(path)
		d.dir.setTrouble(err)
	default:
		return err
	}
	d.onClose(d.dir.Close)
	return nil
}

// useTempDir replaces the data directory by a temporary one that is removed at the end: in
// the system's directory for temporary files or, if there is none, as in some container
// images, in the data directory.
func (d *daemon) useTempDir() error {
	dir, err := os.MkdirTemp("", "coordinator-")
	if err != nil {
		var inData error
		if inData = os.MkdirAll(d.cfg.dataDir, 0o700); inData == nil {
			dir, inData = os.MkdirTemp(d.cfg.dataDir, "coordinator-")
		}
		if inData != nil {
			return usageError{fmt.Errorf("persist disabled: no directory for temporary data; set TMPDIR or --data-dir to a place where one can be created: %w; %w", err, inData)}
		}
	}
	d.onClose(func() error { return os.RemoveAll(dir) })
	d.cfg.dataDir = dir
	return nil
}

// warn warns about settings that the operator may not have intended.
func (d *daemon) warn() {
	warnOfAccess(&d.secured, d.cfg.listen, d.log)
	if len(d.cfg.endpoints) == 0 {
		warnOfEmbedded(d.embedURL(), d.cfg.secure.Controlled(), d.log)
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

// endpointHost is the host of an etcd endpoint, with or without a scheme. A socket belongs
// to this machine.
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

// logStore logs first of all which store is used and which setting chose it.
func (d *daemon) logStore() {
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

// embedURL is where the embedded etcd listens; empty: on a socket of this user only. If the
// API asks for credentials, other users of this machine must not be able to bypass it,
// unless the operator has set the address.
func (d *daemon) embedURL() string {
	if d.cfg.secure.Controlled() && originOf(d.settings.Lookup("embed-client-url")).Kind == originDefault {
		return ""
	}
	return d.cfg.embedURL
}

// logSettings logs the settings that differ from the defaults, and where they come from.
func (d *daemon) logSettings() {
	var given []string
	d.settings.VisitAll(func(f *pflag.Flag) {
		if o := originOf(f); o.Kind != originDefault {
			given = append(given, f.Name+" from "+o.String())
		}
	})
	if len(given) > 0 {
		d.log.Info("settings that are not the defaults", zap.Strings("settings", given))
	}
	for _, variable := range d.unknown {
		d.log.Warn("environment variable ignored", zap.String("why", variable))
	}
}

// startStore starts the embedded etcd, if there is no external store, and returns the
// endpoints.
func (d *daemon) startStore(ctx context.Context) ([]string, error) {
	if len(d.cfg.endpoints) > 0 {
		return d.cfg.endpoints, nil
	}
	etcd, err := startEmbedded(ctx, d.cfg.dataDir, d.embedURL(), d.log)
	if err != nil {
		return nil, err
	}
	d.onClose(etcd.Close)
	d.storeFailed = etcd.Failed()
	return []string{etcd.Endpoint()}, nil
}

func (d *daemon) openStore(ctx context.Context, endpoints []string) (*etcdstore.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.storeTimeout)
	defer cancel()
	cfg := d.cfg.store(endpoints)
	cfg.LastLease, cfg.OnLease, cfg.StillAlive, cfg.Logger = d.dir.lastLease, d.dir.noteLease, d.stillAlive, d.log
	cfg.OnRenewal, cfg.DialOptions = d.telemetry.Renewals(), d.telemetry.DialOptions()
	store, err := etcdstore.Open(ctx, cfg)
	if err == nil || errors.Is(err, rebind.ErrUnavailable) {
		return store, err
	}
	return nil, usageError{err}
}

var errStoreEnded = errors.New("the embedded etcd has stopped, see its last messages above")

// serve runs the node and the API side by side. The API stops after the node, so that its
// clients can see the node stop.
func (d *daemon) serve(ctx context.Context) error {
	api := apiserver.New(apiserver.Config{
		Node: d.node, Security: d.secured, Names: apiserver.OwnNames(d.cfg.listen), SpoolDir: d.dir.spool(),
		Telemetry: d.telemetry, Logger: d.log, LogLevel: d.logged.level,
	})
	defer api.Close()
	server := api.HTTPServer()
	d.log.Info("API is served", zap.String("listen", d.listener.Addr().String()), zap.String("advertise_url", d.uri))
	group, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	group.Go(func() error { return apiserver.Serve(server, d.listener) })
	group.Go(func() error {
		d.dir.run(ended, d.log)
		return nil
	})
	group.Go(func() error { return notify(ctx, ended, d.node.Status, d.log) })
	group.Go(func() error {
		tuneGC(ended)
		return nil
	})
	group.Go(func() error {
		defer close(ended)
		return apiserver.RunNode(ctx, d.node, server)
	})
	group.Go(func() error {
		d.reloadOnRequest(ctx, ended)
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
