package bubble_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
)

// seat is a node's place in a plane: what outlives its processes.
type seat struct {
	nodePlan
	lab *lab

	mu      sync.Mutex // guards the fields below
	wanted  bool       // a process should be running
	process *process   // the latest process; nil before the first
	lease   int64      // notes on disk
	term    int64
	program string // how its program misbehaves
	release chan struct{}
}

// process is one run of a node.
type process struct {
	seat   *seat
	name   string // with the number of the run
	gate   *gate
	log    *valve          // of the node, not of its store
	asked  context.Context // ends when it is asked to stop
	cancel context.CancelFunc
	dead   chan struct{} // closed when it was killed
	done   chan struct{} // closed when nothing of it runs any more
	ready  chan struct{} // closed when node is set, or it has ended without

	node *coordinator.Node
	err  error // why it ended by itself; set once done is closed
}

// start starts a new process of the node and returns it.
func (s *seat) start() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	lives := s.lab.count()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		seat: s, name: fmt.Sprintf("%s#%d", s.ID, lives), asked: ctx, cancel: cancel,
		dead: make(chan struct{}), done: make(chan struct{}), ready: make(chan struct{}),
	}
	p.gate = newGate(s.lab.etcd, s.lab.random("gate "+p.name), func(lease int64, sent time.Time) {
		s.lab.record.renewed(p, lease, sent)
	})
	p.log = &valve{dead: p.dead}
	s.process = p
	cfg := etcdstore.Config{
		Client: func() (*clientv3.Client, error) { return nodeClient(p.gate), nil },
		Clock:  func() time.Duration { return time.Since(s.lab.began) },
		Prefix: prefix, Plane: plane, TTL: s.lab.plan.TTL, Logger: s.lab.log(p.name),
		OnLease: func(lease int64) { p.note(func() { s.lease = lease }) },
	}
	if s.lab.plan.Notes {
		cfg.LastLease = s.lease
	}
	highest := s.term
	s.lab.group.Go(func() {
		defer close(p.done)
		p.err = p.live(ctx, cfg, highest)
		s.lab.record.ended(p)
		p.gate.kill()
		p.gate.late.Wait()
	})
	return p
}

// note writes to the disk, unless the process was killed.
func (p *process) note(write func()) {
	p.seat.mu.Lock()
	defer p.seat.mu.Unlock()
	if !p.killed() {
		write()
	}
}

func (p *process) killed() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// live is the process from its start to its end. A panic in it would end the whole test, so
// it is recorded as a finding.
func (p *process) live(ctx context.Context, cfg etcdstore.Config, highest int64) error {
	s := p.seat
	opened := false
	defer func() {
		if !opened {
			close(p.ready)
		}
		if why := recover(); why != nil {
			fmt.Printf("I-35 at %s: %s panicked: %v\n%s", s.lab.record.now(), p.name, why, s.lab.plan.again())
			panic(why)
		}
	}()
	store, err := etcdstore.Open(ctx, cfg)
	if err != nil {
		return err
	}
	node, err := coordinator.New(coordinator.Config{
		ID: s.ID, Plane: plane, URI: "http://" + s.ID, Version: "1.0.0", Mode: s.Mode,
		Priority: s.Priority, ColdStandby: s.Cold, WaitForMaster: time.Hour, HighestTerm: highest,
		OnTerm:  func(term int64) { p.note(func() { s.term = max(s.term, term) }) },
		Observe: func(t coordinator.Transition) { s.lab.record.moved(p, t) },
		Lead:    func(ctx context.Context, l *coordinator.Leader) error { return p.lead(ctx, l) },
		Logger:  zap.New(unread{cfg.Logger.Core(), p.log}),
	}, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	p.node = node
	opened = true
	close(p.ready)
	err = node.Run(ctx)
	return errors.Join(err, store.Close())
}

// up returns the process's node, or nil if it has none yet or was killed.
func (p *process) up() *coordinator.Node {
	if p == nil || p.killed() {
		return nil
	}
	select {
	case <-p.ready:
	default:
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
		return p.node
	}
}

// kill ends the process like kill -9: nothing of it reaches etcd any more, and nothing that
// it logs counts. Its goroutines end by themselves.
func (p *process) kill() {
	p.seat.mu.Lock()
	if p.killed() {
		p.seat.mu.Unlock()
		return
	}
	close(p.dead)
	p.seat.mu.Unlock()
	p.seat.lab.record.ended(p)
	p.gate.kill()
	p.cancel()
}

// present is the seat's process; nil if there never was one.
func (s *seat) present() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// want says whether a process should be running.
func (s *seat) want(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = wanted
}

// tend starts a process whenever one should run and the last has ended, like a service
// manager, until ctx ends.
func (s *seat) tend(ctx context.Context) {
	if wait(ctx, s.Delay) != nil {
		return
	}
	for {
		p := s.present()
		s.mu.Lock()
		wanted := s.wanted
		s.mu.Unlock()
		gone := p == nil || p.killed()
		if !gone {
			select {
			case <-p.done:
				gone = true
			default:
			}
		}
		if wanted && gone {
			s.start()
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			return
		}
	}
}

// spoil makes the node's program misbehave until the returned func is called.
func (s *seat) spoil(how string) (mend func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	release := make(chan struct{})
	s.program, s.release = how, release
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.release == release {
			s.program, s.release = "", nil
		}
		close(release)
	}
}

var errProgram = errors.New("this program fails")

// lead is the node's program. A well-behaved one acts until its context ends.
func (p *process) lead(ctx context.Context, l *coordinator.Leader) error {
	p.seat.lab.programs.Add(1) // the node may abandon it
	defer p.seat.lab.programs.Done()
	p.seat.mu.Lock()
	how, release := p.seat.program, p.seat.release
	p.seat.mu.Unlock()
	p.seat.lab.record.act(p, l.Term())
	defer p.seat.lab.record.ended(p)
	p.seat.lab.greet(p, ctx, l)
	if how == "program-fails" || how == "program-panics" {
		_ = wait(ctx, 100*time.Millisecond)
		if how == "program-panics" {
			panic("this program panics")
		}
		return errProgram
	}
	<-ctx.Done()
	p.seat.lab.record.ended(p) // from now on its term is not to blame for what it does
	switch how {
	case "program-slow":
		<-time.After(time.Second)
	case "program-hangs":
		<-release
	}
	return nil
}
