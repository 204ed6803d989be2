// Package fleet runs planes of real processes and injects faults: three members of etcd and
// some nodes, clients that make requests and record the answers, and a plan of faults drawn
// from a seed.
//
// A fleet is created from a [Config], which says what runs and where. Each process has a
// [Place], the prefix of its command line and its address, so that the same fleet can run
// on one machine's loopback or in namespaces. [Start] starts the processes and
// [Fleet.Close] ends them, by their own ids; if the process that started them dies earlier,
// the kernel ends them.
//
// What the nodes say about themselves is taken from their logs, with the times written
// there. Nothing is decided here: a run leaves behind an [evidence.Run], and the judge
// decides what it proves.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// waitLimit bounds every wait without a bound of its own. It is generous, since the machines
// that run this are slow and noisy.
const waitLimit = 60 * time.Second

// plane is the name of the plane, and root the prefix of its keys.
const (
	plane  = "lab"
	prefix = "/coordinator"
	root   = prefix + "/" + plane + "/"
)

// Place is where a process runs.
type Place struct {
	Prefix  []string // prefix of its command line, such as ip netns exec x; it must become the program, not its parent
	Address string   // the IP address it listens at; loopback if empty
}

// Config is what a fleet consists of.
type Config struct {
	Layer    string // the layer's name in the evidence
	Seed     uint64
	Dir      string // for data and logs
	Binaries Binaries
	TTL      time.Duration // of the nodes' leases
	Members  []Place       // of etcd
	Nodes    []NodeConfig
	Guarded  bool // etcd requires passwords, and each node is a user with a role of its own
	// Dial connects the laboratory itself to processes; nil if no special way is needed.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *zap.Logger // logs what is done
}

// NodeConfig is how a node is started.
type NodeConfig struct {
	ID    string
	Mode  string // as on the command line
	Place Place
	Env   []string // in addition to the laboratory's environment
	Args  []string // in addition to those that each node gets
}

// Fleet is a running plane of processes.
type Fleet struct {
	Members []*Member
	Nodes   []*Node

	cfg     Config
	began   time.Time
	store   *clientv3.Client
	http    *http.Client
	token   string
	starter *starter
	group   sync.WaitGroup // readers of the processes' output

	observer  *evidence.Observer
	workers   sync.WaitGroup // clients
	idle      func()         // ends the clients
	watchers  sync.WaitGroup // of the machine
	unwatched func()         // ends the watching
	harmed    []*Node        // nodes and members hit by the steps in progress

	mu     sync.Mutex // guards the fields below
	run    evidence.Run
	okays  int                   // acknowledged operations
	wrong  []string              // complaints
	stalls []span                // times in which the machine stood still
	runs   map[string][]*Process // of nodes and members, by name
}

// Start starts a fleet and waits until it has a master and every node serves.
func Start(ctx context.Context, cfg Config) (*Fleet, error) {
	f := &Fleet{cfg: cfg, began: time.Now(), starter: newStarter(), runs: make(map[string][]*Process)}
	f.http = f.newHTTP()
	f.run = evidence.Run{Layer: cfg.Layer, Seed: cfg.Seed, Root: root, TTL: cfg.TTL}
	if err := f.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start fleet: %w", err), f.Close())
	}
	return f, nil
}

func (f *Fleet) start(ctx context.Context) error {
	if err := os.MkdirAll(f.logs(), 0o700); err != nil {
		return fmt.Errorf("make a directory for logs: %w", err)
	}
	if err := f.writeToken(); err != nil {
		return err
	}
	if err := f.startMembers(ctx); err != nil {
		return err
	}
	for _, c := range f.cfg.Nodes {
		n, err := f.newNode(c)
		if err != nil {
			return err
		}
		f.Nodes = append(f.Nodes, n)
	}
	for _, n := range f.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	if _, err := f.AwaitMaster(ctx, waitLimit); err != nil {
		return err
	}
	for _, n := range f.Nodes {
		if err := n.AwaitServing(ctx, waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// Close ends all processes. Their data and logs stay.
func (f *Fleet) Close() error {
	if f.idle != nil {
		f.idle()
		f.workers.Wait()
		f.unwatched()
		f.watchers.Wait()
	}
	f.mu.Lock()
	runs := f.runs
	f.mu.Unlock()
	for _, all := range runs {
		for _, p := range all {
			p.Kill()
		}
	}
	f.group.Wait()
	f.starter.close()
	if f.store == nil {
		return nil
	}
	if err := f.store.Close(); err != nil {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// Now is the time on the run's clock.
func (f *Fleet) Now() time.Duration { return time.Since(f.began) }

// Store is a client of the fleet's etcd.
func (f *Fleet) Store() *clientv3.Client { return f.store }

// Node returns the node with that id, or nil.
func (f *Fleet) Node(id string) *Node {
	for _, n := range f.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// NoteFault adds a fault to the evidence.
func (f *Fleet) NoteFault(fault evidence.Fault) {
	f.note(func(run *evidence.Run) { run.Faults = append(run.Faults, fault) })
}

// complain records something forbidden that the evidence does not show.
func (f *Fleet) complain(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// note adds to the evidence.
func (f *Fleet) note(add func(*evidence.Run)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.run)
}

func (f *Fleet) logs() string { return filepath.Join(f.cfg.Dir, "logs") }

func (f *Fleet) openStore(endpoints []string, guarded bool) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: time.Second,
		DialOptions: f.dialOptions(),
	}
	if guarded {
		cfg.Username, cfg.Password = "root", password
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("make etcd client: %w", err)
	}
	return client, nil
}

// await repeats check until it succeeds, and fails with its last error. An error because
// the time was over in the middle of a check does not count.
func await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var why error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, why)
		}
	}
}
