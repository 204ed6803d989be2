package bubble_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

const (
	prefix = "/lab"
	plane  = "p"
	root   = prefix + "/" + plane + "/"
)

// lab is one run of a plan.
type lab struct {
	t          *testing.T
	plan       *plan
	began      time.Time
	record     *record
	told       zapcore.Core // the processes' logs
	etcd       *etcd
	restarting sync.Mutex // held while etcd is stopped
	raw        *clientv3.Client
	seats      []*seat
	group      sync.WaitGroup // all goroutines except those of nodes and etcd
	programs   sync.WaitGroup

	mu     sync.Mutex // guards the field below
	lives  int
	failed []string
}

// broken records a broken invariant.
func (l *lab) broken(invariant, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, fmt.Sprintf("%s at %s: ", invariant, l.record.now())+fmt.Sprintf(format, args...))
}

// count counts.
func (l *lab) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lives++
	return l.lives
}

// random is the random source of one actor.
func (l *lab) random(actor string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(actor))
	return rand.New(rand.NewPCG(l.plan.Seed, h.Sum64()))
}

// log is where a process logs.
func (l *lab) log(name string) *zap.Logger {
	return zap.New(l.told).With(zap.String("process", name))
}

// logs collects the processes' logs, with the time since the start of the run.
func logs(began time.Time, to io.Writer) zapcore.Core {
	return zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message", EncodeLevel: zapcore.CapitalLevelEncoder,
		EncodeTime:     func(at time.Time, to zapcore.PrimitiveArrayEncoder) { to.AppendString(at.Sub(began).String()) },
		EncodeDuration: zapcore.StringDurationEncoder,
	}), zapcore.Lock(zapcore.AddSync(to)), zapcore.DebugLevel)
}

// master is the process that acts as the master; nil if none does.
func (l *lab) master() *process {
	for _, s := range l.seats {
		p := s.present()
		if node := p.up(); node != nil && node.Status().Acting {
			return p
		}
	}
	return nil
}

// rest is how long a plane may take to come to rest after the last fault: a record lapses,
// the next node is promoted, and a margin.
func (l *lab) rest() time.Duration { return l.plan.TTL + 10*time.Second }

// run runs the plan and returns the evidence, and the faults that the lab itself has found.
// It is called in a bubble.
func run(t *testing.T, p *plan, told io.Writer) (*evidence.Run, []string) {
	l := newLab(t, p, told)
	defer l.remove()
	observer := evidence.Observe(context.Background(), l.raw, root)

	stop, leave := l.live()
	l.harm()
	l.comeToRest()
	stop()
	l.settle()
	l.close(observer)
	leave()
	return &l.record.run, l.failed
}

// newLab creates a lab with a running store. Remove it when done.
func newLab(t *testing.T, p *plan, told io.Writer) *lab {
	l := &lab{t: t, plan: p, began: time.Now()}
	l.told = logs(l.began, told)
	l.record = newRecord(l.began)
	l.etcd = newEtcd(t)
	open := newGate(l.etcd, l.random("observer"), func(int64, time.Time) {})
	l.raw = client(open)
	return l
}

// remove stops the store and deletes its disk.
func (l *lab) remove() {
	l.raw.Close()
	l.etcd.stop()
	l.etcd.remove()
}

// live starts nodes and clients; stop stops the clients, leave stops the nodes.
func (l *lab) live() (stop, leave func()) {
	tending, untended := context.WithCancel(context.Background())
	for _, n := range l.plan.Nodes {
		s := &seat{nodePlan: n, lab: l, wanted: true}
		l.seats = append(l.seats, s)
	}
	for _, s := range l.seats {
		l.group.Go(func() { s.tend(tending) })
	}
	working, end := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for i := range writers {
		c := l.caller(fmt.Sprintf("writer-%d", i))
		clients.Go(func() { c.write(working) })
	}
	for i := range readers {
		c := l.caller(fmt.Sprintf("reader-%d", i))
		clients.Go(func() { c.read(working) })
	}
	clients.Go(func() { l.copy(working) })
	stop = func() {
		end()
		clients.Wait()
	}
	leave = func() {
		untended()
		l.stop()
		l.group.Wait()
		l.programs.Wait()
	}
	return stop, leave
}

// harm executes the plan and undoes what is still in force at its end.
func (l *lab) harm() {
	ctx, heal := context.WithCancel(context.Background())
	var steps sync.WaitGroup
	for i := range l.plan.Steps {
		s := &l.plan.Steps[i]
		_ = wait(ctx, s.At-l.record.now())
		steps.Go(func() { l.execute(ctx, s) })
	}
	_ = wait(ctx, time.Second)
	heal()
	steps.Wait()
	l.resume()
	for _, s := range l.seats {
		s.want(true)
		if p := s.present(); p != nil {
			l.group.Go(func() { p.setBack() })
		}
	}
}

// resume ends a pause, which may have been impossible when its time was over.
func (l *lab) resume() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for wait(ctx, 10*time.Millisecond) == nil {
		for _, s := range l.seats {
			if node := s.present().up(); node != nil && node.Resume(ctx) == nil {
				return
			}
		}
	}
}

// setBack restores the mode in which a node was started, as an operator would.
func (p *process) setBack() {
	ctx, cancel := context.WithTimeout(context.Background(), p.seat.lab.rest())
	defer cancel()
	for ctx.Err() == nil {
		node := p.up()
		if node == nil {
			return
		}
		s := node.Status()
		if s.Mode != p.seat.Mode || s.State == modes.StateFailed { // perhaps by a change still in progress
			_, _ = node.ChangeMode(ctx, p.seat.Mode)
		}
		_ = wait(ctx, 100*time.Millisecond)
	}
}

// comeToRest waits until the plane is as it should be without faults.
func (l *lab) comeToRest() {
	ctx, cancel := context.WithTimeout(context.Background(), l.rest())
	defer cancel()
	why := l.restless(ctx)
	for why != "" {
		if wait(ctx, 50*time.Millisecond) != nil {
			l.broken("I-34", "not at rest %s after the last harm: %s", l.rest(), why)
			return
		}
		why = l.restless(ctx)
	}
	l.record.run.Alive = nil
	for _, s := range l.seats {
		l.record.run.Alive = append(l.record.run.Alive, s.ID)
	}
}

// settle waits until every mirror has the last write.
func (l *lab) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), l.rest())
	defer cancel()
	why := l.restless(ctx)
	for why != "" && wait(ctx, 50*time.Millisecond) == nil {
		why = l.restless(ctx)
	}
	if why != "" {
		l.broken("I-34", "does not stay at rest: %s", why)
	}
	l.copies()
}

// restless says what keeps the plane from rest; it is empty if nothing does. Its last check
// is a write that has to be acknowledged.
func (l *lab) restless(ctx context.Context) string {
	master := ""
	for _, s := range l.seats {
		p := s.present()
		node := p.up()
		if node == nil {
			return s.ID + " does not run"
		}
		if p.asked.Err() != nil { // the store came back before the record was gone
			return s.ID + " is on its way out"
		}
		status := node.Status()
		rest := s.Mode.Rest(!s.Cold)
		switch {
		case status.LeaseRemaining <= 0: // its record belongs to a lease that may be about to lapse
			return s.ID + " has no lease"
		case status.Acting && master != "":
			return fmt.Sprintf("both %s and %s lead", master, s.ID)
		case status.Acting:
			master = s.ID
		case status.State != rest:
			return fmt.Sprintf("%s is %s in mode %s, not %s", s.ID, status.State, status.Mode, rest)
		}
	}
	if master == "" {
		return "nobody leads"
	}
	p := l.master()
	if p == nil {
		return "nobody leads"
	}
	return l.canary(ctx, p)
}

// canary writes, and checks that every mirror receives the write.
func (l *lab) canary(ctx context.Context, master *process) string {
	c := l.caller("canary")
	c.made = l.count()
	op := evidence.Op{Client: c.name, Node: master.seat.ID, Sent: l.record.now()}
	d := rebind.Delta{Ops: []rebind.Op{{Name: "canary/bird", Put: &rebind.Content{Payload: c.payload()}}}}
	op.Changes = changes(&d)
	receipt, err := master.commit(ctx, 2*time.Second, d)
	op.Answered = l.record.now()
	op.Outcome, op.Revision, op.Why = outcome(receipt, err, "")
	l.record.did(op)
	if err != nil {
		return fmt.Sprintf("%s does not accept a write: %v", master.seat.ID, err)
	}
	pl, err := master.node.Plane(ctx)
	if err != nil {
		return err.Error()
	}
	for _, s := range l.seats {
		node := s.present().up()
		if node == nil {
			return s.ID + " does not run"
		}
		status := node.Status()
		if m, ok := pl.Member(s.ID); !ok || m.State != status.State {
			return fmt.Sprintf("the store has %s as %s, it is %s", s.ID, m.State, status.State)
		}
		if !status.State.Hot() {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := node.WaitRevision(bounded, receipt.Revision)
		cancel()
		if err != nil {
			return fmt.Sprintf("the mirror of %s does not reach revision %d: %v", s.ID, receipt.Revision, err)
		}
	}
	return ""
}

// enough is how many writes have to be acknowledged in a run.
const enough = 3

// stopLimit is how long a clean stop may take.
const stopLimit = 12 * time.Second

// stop stops all nodes, the master last.
func (l *lab) stop() {
	var group sync.WaitGroup
	for _, s := range l.seats {
		p := s.present()
		if p == nil {
			continue
		}
		group.Go(func() {
			asked := time.Now()
			p.cancel()
			<-p.done
			if took := time.Since(asked); took > stopLimit {
				l.broken("I-30", "%s took %s to stop", p.name, took)
			}
		})
	}
	group.Wait()
}

// close reads the store's history to its end.
func (l *lab) close(observer *evidence.Observer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	run := &l.record.run
	run.Layer, run.Seed, run.TTL, run.Enough = "bubble", l.plan.Seed, l.plan.TTL, enough
	if err := observer.Finish(ctx, l.raw, run); err != nil {
		l.broken("invalid", "%v", err)
	}
}
