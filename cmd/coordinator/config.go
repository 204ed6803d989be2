// The settings of "run": flags, validation, and what follows from them.

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/hostport"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// runConfig holds the settings of "coordinator run", one field for each flag.
type runConfig struct {
	mode          string
	plane         string
	nodeID        string
	priority      int
	prefix        string
	endpoints     []string
	dataDir       string
	listen        string
	advertiseURL  string
	leaseTTL      time.Duration
	storeTimeout  time.Duration
	autoStandby   string
	waitForMaster time.Duration
	planeID       string
	persist       string
	rebindFailure string
	maxMemento    int
	embedURL      string
	secure        secureConfig
	etcd          etcdFlags
	log           logConfig
	file          string
}

// logConfig says how a process logs.
type logConfig struct{ level, format string }

const defaultDataDir = "coordinator-data"

// settings declares the flags, in the order in which they are shown.
func (c *runConfig) settings() *pflag.FlagSet {
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.SortFlags = false
	c.flags(f)
	return f
}

func (c *runConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.mode, "mode", "auto", "mode of the node: auto, master, standby, hot_standby, hot_backup, or disabled: alone with the plane's state")
	f.StringVar(&c.plane, "plane", "default", "name of the plane")
	f.StringVar(&c.nodeID, "node-id", "", "id of this node in the plane (default: the host name)")
	f.IntVar(&c.priority, "priority", 0, "rank among candidates; a higher one is preferred, negative values are allowed")
	f.StringVar(&c.prefix, "prefix", "/coordinator", "etcd prefix under which all planes are kept")
	f.Var(listOf(&c.endpoints), "endpoints", "client URLs of an external etcd (default: an etcd embedded in this process)")
	f.StringVar(&c.dataDir, "data-dir", defaultDataDir, "directory for the embedded etcd and the node's own notes")
	f.StringVar(&c.listen, "listen", "127.0.0.1:7400", "address of the HTTP API")
	f.StringVar(&c.advertiseURL, "advertise-url", "", "URL at which others reach the API (default: http:// or, with --tls-cert, https://, and the listen address)")
	f.DurationVar(&c.leaseTTL, "lease-ttl", 6*time.Second, "time to live of the node's lease, in whole seconds, at least 2s")
	f.DurationVar(&c.storeTimeout, "store-timeout", 10*time.Second, "how long to wait for the store at the start")
	f.StringVar(&c.autoStandby, "auto-standby", "hot", "how modes auto and master stand by: hot or cold")
	f.DurationVar(&c.waitForMaster, "wait-for-master", 0, "how long modes standby and hot_standby wait for a master at the start")
	f.StringVar(&c.planeID, "plane-id", "", "id of the plane that this node belongs to: the node refuses any other plane and gives the id to a new one (default: accept any plane)")
	f.StringVar(&c.persist, "persist", "auto", "what happens to the state at the start: auto loads what is there, rebind requires that there is some, clean deletes it, disabled keeps none; never taken from the environment or a file")
	f.StringVar(&c.rebindFailure, "rebind-failure", "continue", "what to do about mementos that cannot be used: continue without them, fail_at_end or fail_fast")
	f.IntVar(&c.maxMemento, "max-memento-bytes", 1<<20, "largest payload of a memento, in bytes")
	f.StringVar(&c.embedURL, "embed-client-url", defaultEmbedURL, "where the embedded etcd listens for clients (default: http://127.0.0.1:2379, or a socket of this user only if callers of the API need credentials)")
	c.secure.flags(f)
	c.etcd.flags(f)
	c.log.flags(f)
	f.StringVar(&c.file, fileFlag, "", "YAML file of settings, one key for each flag; see \"coordinator config example\"")
}

func (c *logConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.format, "log-format", "auto", "console, json, or auto: console on a terminal")
}

// parse parses the level and checks the format.
func (c *logConfig) parse() (zapcore.Level, error) {
	level, err := httpapi.ParseLevel(c.level)
	switch c.format {
	case "auto", "console", "json":
	default:
		err = errors.Join(err, fmt.Errorf("log format %q: use console, json or auto", c.format))
	}
	return level, err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// persistDisabled is the value of --persist with which nothing outlasts the process.
const persistDisabled = "disabled"

// choices are the settings that take one of a few words, in the types of the packages
// below.
type choices struct {
	mode modes.Mode
	// of --persist
	cleanStart, requireState bool
	rules                    rebind.Rules
}

// resolve merges the settings from flags and environment, which are set already, with those
// of the file, and validates the result.
func (c *runConfig) resolve(settings *pflag.FlagSet) (choices, error) {
	if err := fromFile(c.file, settings); err != nil {
		return choices{}, err
	}
	return c.complete()
}

// nameNode names the node after its host if no id is given.
func (c *runConfig) nameNode() error {
	if c.nodeID != "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("node-id: %w", err)
	}
	c.nodeID = host
	return nil
}

// complete fills in defaults that depend on other settings and reports all mistakes at
// once.
func (c *runConfig) complete() (choices, error) {
	chosen, err := c.choose()
	err = errors.Join(err, c.nameNode())
	err = errors.Join(err, driver.CheckNode(c.nodeID), c.checkStore())
	if c.autoStandby != "hot" && c.autoStandby != "cold" {
		err = errors.Join(err, fmt.Errorf("auto-standby %q: use hot or cold", c.autoStandby))
	}
	if c.storeTimeout <= 0 {
		err = errors.Join(err, fmt.Errorf("store-timeout %s: use a positive time", c.storeTimeout))
	}
	if c.maxMemento < 1 || c.maxMemento > driver.MaxPayload {
		err = errors.Join(err, fmt.Errorf("max-memento-bytes %d: use 1 to %d, the most that fits into one etcd request", c.maxMemento, driver.MaxPayload))
	}
	if c.dataDir == "" {
		err = errors.Join(err, errors.New("data-dir is empty"))
	}
	if c.waitForMaster < 0 {
		err = errors.Join(err, fmt.Errorf("wait-for-master %s is negative", c.waitForMaster))
	}
	_, errLog := c.log.parse()
	err = errors.Join(err, c.checkURLs(), c.secure.Check(c.advertiseURL), errLog)
	if err != nil {
		return chosen, usageError{err}
	}
	return chosen, nil
}

// failurePolicy returns the rules of a rebind-failure, which count for all types.
func failurePolicy(word string) (rebind.Rules, error) {
	all := []string{"*"}
	switch word {
	case "continue":
		return rebind.Rules{Continue: all}, nil
	case "fail_at_end":
		return rebind.Rules{FailAtEnd: all}, nil
	case "fail_fast":
		return rebind.Rules{FailFast: all}, nil
	default:
		return rebind.Rules{}, fmt.Errorf("unknown policy %q: use continue, fail_at_end or fail_fast", word)
	}
}

// choose parses the settings that take one of a few words, and reports those that
// contradict each other.
func (c *runConfig) choose() (choices, error) {
	var chosen choices
	var errMode, errPolicy, err error
	errMode = chosen.mode.UnmarshalText([]byte(c.mode))
	chosen.rules, errPolicy = failurePolicy(c.rebindFailure)
	if errPolicy != nil {
		errPolicy = fmt.Errorf("rebind-failure: %w", errPolicy)
	}
	switch c.persist {
	case "auto":
	case "rebind":
		chosen.requireState = true
	case "clean":
		chosen.cleanStart = true
		if errMode == nil && (chosen.mode.NeedsMaster() || chosen.mode == modes.HotBackup) {
			err = fmt.Errorf("persist clean: mode %s never leads at the start and so deletes nothing: use mode auto, master or disabled", chosen.mode)
		}
	case persistDisabled:
		if errMode == nil && chosen.mode != modes.Disabled {
			err = fmt.Errorf("persist disabled: a plane that keeps nothing cannot be shared: use it with --mode disabled, not %s", chosen.mode)
		}
		if len(c.endpoints) > 0 {
			err = errors.Join(err, errors.New("persist disabled: the node starts an etcd of its own that keeps nothing: leave --endpoints out"))
		}
	default:
		err = fmt.Errorf("persist %q: use auto, rebind, clean or disabled", c.persist)
	}
	return chosen, errors.Join(errMode, err, errPolicy)
}

// store is the configuration of the store behind endpoints.
func (c *runConfig) store(endpoints []string) etcdstore.Config {
	cfg := etcdstore.Config{Endpoints: endpoints, Prefix: c.prefix, Plane: c.plane, TTL: c.leaseTTL}
	c.etcd.apply(&cfg)
	return cfg
}

// checkStore validates the store's settings before an embedded etcd creates its data
// directory.
func (c *runConfig) checkStore() error {
	if err := c.etcd.check(len(c.endpoints) > 0); err != nil {
		return err
	}
	if len(c.endpoints) > 0 {
		store := c.store(c.endpoints)
		return store.Validate()
	}
	store := c.store([]string{defaultEmbedURL})
	return errors.Join(store.Validate(), checkEmbedURL(c.embedURL))
}

// checkURLs validates the addresses.
func (c *runConfig) checkURLs() error {
	err := c.checkCredentials()
	if wrong := hostport.Listen(c.listen); wrong != nil {
		err = errors.Join(err, fmt.Errorf("listen %q: %w", c.listen, wrong))
	}
	if c.advertiseURL != "" && err == nil {
		u, wrong := hostport.URL(c.advertiseURL, "http", "https")
		if wrong == nil && u.User != nil {
			wrong = errors.New("leave the user out: the node publishes this URL")
		}
		if wrong != nil {
			err = fmt.Errorf("advertise-url %q: %w", c.advertiseURL, wrong)
		}
	}
	return err
}

// checkCredentials refuses passwords in addresses: etcd's client would ignore them
// silently, and the advertised URL is public.
func (c *runConfig) checkCredentials() error {
	var err error
	for _, e := range c.endpoints {
		if masked(e) != e {
			err = errors.Join(err, fmt.Errorf("endpoints %q: give user and password with --etcd-user and --etcd-password-file", masked(e)))
		}
	}
	if masked(c.advertiseURL) != c.advertiseURL {
		err = errors.Join(err, fmt.Errorf("advertise-url %q: leave the password out: the node publishes this URL", masked(c.advertiseURL)))
	}
	return err
}

// advertised is the URL to publish for an API that listens at address: with the host as
// given, or the host name if it was left open, and with the port that the system chose if
// none was given.
func (c *runConfig) advertised(address net.Addr) (string, error) {
	if c.advertiseURL != "" {
		return c.advertiseURL, nil
	}
	host, _, err := net.SplitHostPort(c.listen)
	if err != nil {
		return "", fmt.Errorf("listen %q: %w", c.listen, err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("advertise-url: %w", err)
		}
	}
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return "", fmt.Errorf("listen %q: %w", c.listen, err)
	}
	return c.secure.scheme() + "://" + net.JoinHostPort(host, port), nil
}

// isLoopback reports whether a host means this machine only.
func isLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

// beyondLoopback reports whether a listen address can be reached from elsewhere.
func beyondLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && !isLoopback(host)
}
