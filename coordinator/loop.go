package coordinator

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// loop is what only the loop of a node touches: the goroutine that is in [Node.Run].
// Nobody else has a loop in hand. What others may know it puts into the node.
type loop struct {
	node  *Node
	cfg   *Config
	store driver.Store
	log   *zap.Logger
	cache *planeCache

	ctx   context.Context // everything the node runs; outlives a stop until it is done
	stop  <-chan struct{} // closed when the node is to stop; nil once it heeds that
	group sync.WaitGroup  // everything the node runs, programs apart
	beat  *time.Ticker

	instance string
	started  time.Time
	mode     modes.Mode
	priority int
	state    modes.State
	since    time.Time

	clean     bool  // all mementos are to be deleted in the first term
	inspected int64 // the plane's last term when the node looked at it before it joined
	solo      bool  // it is a disabled node, with the plane to itself
	unburied  bool  // the last try to say of a node that it vanished has failed

	lastError string
	readyFor  string
	offer     driver.Offer // what readyFor answers
	gaveUp    int64
	gaveUpFor driver.Reason
	aside     time.Time // until then others go first in the election

	membership driver.Presence
	former     driver.Presence // lost, and not yet seen to be gone from the store
	published  driver.Record   // what the store is known to hold; zero if that is not known
	shown      driver.Record   // what the plane has shown of this node as it was published
	amiss      time.Time       // since when it shows something else; zero while it does not
	mirror     *following
	candidacy  *candidacy
	reign      *reign
	quiet      bool     // the term is about to be given up: claim nothing
	program    *program // the last call; nil before the first
	pending    *change
	fatal      error // why this node can never start
}

// step is what the loop does next; nil ends it. Each step blocks until the node is
// to do something else and returns what that is.
type step func() step

// newLoop returns the loop of a new node, and shows the node as it is at first.
func newLoop(n *Node) *loop {
	l := &loop{
		node: n, cfg: &n.cfg, store: n.store, log: n.log, cache: n.cache,
		instance: rand.Text(),
		started:  now(),
		mode:     n.cfg.Mode,
		priority: n.cfg.Priority,
		state:    modes.StateInitializing,
		clean:    n.cfg.CleanStart,
	}
	l.since = l.started
	l.turn()
	l.show()
	return l
}

// live is [Node.Run].
func (l *loop) live(ctx context.Context) error {
	work, halt := context.WithCancel(context.WithoutCancel(ctx))
	l.ctx, l.stop = work, ctx.Done()
	l.beat = time.NewTicker(beatEvery)
	defer l.beat.Stop()
	l.group.Go(func() { l.cache.follow(work, l.store, l.cfg.HighestTerm, l.cfg.OnTerm, l.log) })
	l.group.Go(func() { l.cache.poll(work, l.store, l.log) })
	told := make(chan struct{})
	go func() { // not one of l.group: an observer that hangs must not keep the node
		defer close(told)
		l.node.journal.tell(work, l.log, l.cfg.Observe)
	}()
	for next := l.start(); next != nil; {
		next = next()
	}
	close(l.node.ended)
	halt()
	l.group.Wait()
	select {
	case <-told:
	case <-time.After(callTimeout):
		l.log.Error("observer does not return, leaving it behind")
	}
	return l.fatal
}
