package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the settings of a node. They do not change while it runs.

// Config holds the settings of a [Node]. ID, Plane and Mode are required.
type Config struct {
	// ID names the node within its plane: 1 to 64 of A-Z a-z 0-9 . _ ~ -.
	ID string
	// Plane names the plane: as CheckPlane wants it.
	Plane string
	// URI is where other nodes and people reach this one; it is only published.
	URI string
	// Version is the program's, published and used to choose a master; a semantic
	// version, or anything else, which ranks last.
	Version string
	// Mode is the mode to start in.
	Mode modes.Mode
	// PlaneID is the id of the plane that the node belongs to: it refuses any
	// other, and a plane that has none yet gets it. Empty means whichever plane
	// the node finds first.
	PlaneID string
	// RequireState makes Run return [driver.ErrNoState] if the plane holds no memento when
	// the node starts.
	RequireState bool
	// CleanStart deletes all mementos in the first fenced transaction of the node's first
	// term, which begins only while no other node is in the plane: Run returns
	// [driver.ErrRefused] otherwise. It is for modes auto, master and disabled, and cannot
	// go with RequireState.
	CleanStart bool
	// Priority ranks the node among candidates: higher first, may be negative.
	Priority int
	// ColdStandby lets modes auto and master stand by without a mirror: less
	// memory and traffic, and a promotion that has to load everything first.
	ColdStandby bool
	// WaitForMaster is how long a node whose mode needs a master waits for one at
	// start. 0 means that it does not wait.
	WaitForMaster time.Duration
	// HighestTerm is the number of the highest term that an earlier process of
	// this node has seen. Terms of this node are higher, even in a store that was
	// restored from a backup. 0 for none.
	HighestTerm int64
	// OnTerm is told the highest term seen whenever that rises, on the goroutine
	// that watches the plane; nil is never told.
	OnTerm func(term int64)
	// Rules say which mementos the program can use, and what to do at a load
	// about those that it cannot.
	Rules rebind.Rules
	// MaxPayload is the most bytes one memento may have; 0 means 1 MiB.
	MaxPayload int
	// OwnsStore says that the store ends with this process, so that there is
	// nothing to hand over when it stops.
	OwnsStore bool
	// Trouble tells what else is wrong with the node, for the last error of its record:
	// empty if nothing is. It is called often and must return at once; nil means that
	// there is never anything.
	Trouble func() string
	// StillAlive tells whether the process that published r is still there. It
	// is asked when the node id turns out to be taken; nil means never.
	StillAlive func(ctx context.Context, r driver.Record) bool
	// Lead is the program: it is called when the node has become master, with
	// the state to start from and the means to change it. Its context ends with
	// the term. Returning nil leaves the node master; returning an error or
	// panicking gives the term up and makes the node FAILED. While a call has not
	// returned the node does not stand for election again. It is called again
	// within a term only when it was stopped for a handover that was undone.
	Lead func(ctx context.Context, l *Leader) error
	// Observe is told of each change of state, in order, on a goroutine of its
	// own. If it falls more than 200 changes behind, it misses the oldest.
	Observe func(Transition)
	// Logger is where the node says what it does; nil means nowhere.
	Logger *zap.Logger
}

const defaultMaxPayload = 1 << 20

// validate reports all mistakes at once and fills in what may be left out.
func (c *Config) validate() error {
	err := errors.Join(driver.CheckNode(c.ID), driver.CheckPlane(c.Plane))
	if !c.Mode.Valid() {
		err = errors.Join(err, fmt.Errorf("mode %s is not valid", c.Mode))
	}
	if c.CleanStart && (c.Mode.NeedsMaster() || c.Mode == modes.HotBackup) {
		err = errors.Join(err, fmt.Errorf("mode %s never leads at start, so it cannot delete all state", c.Mode))
	}
	if c.CleanStart && c.RequireState {
		err = errors.Join(err, errors.New("a clean start deletes the state that is required"))
	}
	if c.WaitForMaster < 0 {
		err = errors.Join(err, fmt.Errorf("wait for master %s is negative", c.WaitForMaster))
	}
	if c.MaxPayload < 0 {
		err = errors.Join(err, fmt.Errorf("max payload %d is negative", c.MaxPayload))
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = defaultMaxPayload
	}
	if c.StillAlive == nil {
		c.StillAlive = func(context.Context, driver.Record) bool { return false }
	}
	if c.Trouble == nil {
		c.Trouble = func() string { return "" }
	}
	if c.OnTerm == nil {
		c.OnTerm = func(int64) {}
	}
	if c.Observe == nil {
		c.Observe = func(Transition) {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return err
}
