// Package network tests planes under network faults. Each member of etcd and each node is a
// real process on a host of its own, and between them is a
// [github.com/coordinator-ha/coordinator/test/lab/wire.Wire]. The laboratory itself, its
// clients and the observer of the store reach each host from inside, where no rule applies.
//
// Each test is a [Row] of the fault matrix: a rule on some links, what has to be seen while
// it lasts and how soon, and what has to be seen after it has been removed. A row also
// checks that packets met its rule: a fault that did not happen shows nothing. The run's
// evidence is left for the judge.
package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/wire"
)

// Config is what a plane consists of.
type Config struct {
	Seed     uint64
	Dir      string // for data and logs
	Binaries fleet.Binaries
	TTL      time.Duration // of the nodes' leases
	Blunt    bool          // rules do nothing, so that each row has to fail
}

// Plane is a running plane with its network.
type Plane struct {
	*fleet.Fleet
	wire *wire.Wire
	cfg  Config
}

// hosts of etcd's members have the members' names.
var (
	members = []string{"m1", "m2", "m3"}
	nodes   = []fleet.NodeConfig{{ID: "a", Mode: "auto"}, {ID: "b", Mode: "hot_standby"}, {ID: "c", Mode: "hot_backup"}}
)

// backup is the node that never leads.
const backup = "c"

// Start creates a network and starts a plane on it.
func Start(ctx context.Context, cfg Config) (*Plane, error) {
	hosts := slices.Clone(members)
	for _, n := range nodes {
		hosts = append(hosts, n.ID)
	}
	w, err := wire.New(cfg.Seed, hosts...)
	if err != nil {
		return nil, fmt.Errorf("start plane: %w", err)
	}
	place := func(host string) fleet.Place {
		h := w.Host(host)
		return fleet.Place{Prefix: []string{"ip", "netns", "exec", h.Namespace}, Address: h.Address.String()}
	}
	config := fleet.Config{
		Layer: "network", Seed: cfg.Seed, Dir: cfg.Dir, Binaries: cfg.Binaries, TTL: cfg.TTL, Dial: w.Dial,
	}
	for _, m := range members {
		config.Members = append(config.Members, place(m))
	}
	for _, n := range nodes {
		n.Place = place(n.ID)
		config.Nodes = append(config.Nodes, n)
	}
	f, err := fleet.Start(ctx, config)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start plane: %w", err), w.Close())
	}
	return &Plane{Fleet: f, wire: w, cfg: cfg}, nil
}

// Close ends all processes and removes the network.
func (p *Plane) Close() error { return errors.Join(p.Fleet.Close(), p.wire.Close()) }
