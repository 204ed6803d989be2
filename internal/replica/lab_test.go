package replica_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// ttl is that of the writer's lease, in virtual time.
const ttl = 10 * time.Second

// lab is an in-memory store, a term of node "writer", and a mirror on node
// "reader", which a test can cut off without the writer taking harm.
type lab struct {
	t      *testing.T
	ctx    context.Context // ends with the test, before it waits for what it began
	end    context.CancelFunc
	group  sync.WaitGroup // what the test began
	gates  []*gate
	server *memstore.Server
	term   driver.Term
	source *tap
	mirror *replica.Mirror
	stop   func(cause error) error // ends the mirror and returns what Run returned
}

var errEnd = errors.New("end of the test")

// inLab runs a test in a bubble of virtual time, whose end checks that no
// goroutine is left. The mirror does not run yet.
func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		test(t, l)
	})
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, server: memstore.New(ttl)}
	l.ctx, l.end = context.WithCancel(context.Background())
	m, err := l.server.Node("writer").Join(l.ctx, driver.Record{ID: "writer", Plane: "p"})
	if err != nil {
		t.Fatal(err)
	}
	l.term, err = storetest.Candidate{}.Lead(l.ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	l.source = &tap{Source: l.server.Node("reader")}
	l.mirror = replica.NewMirror(l.source, rebind.Rules{}, zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel)))
	l.stop = func(error) error { return nil }
	return l
}

// close ends all that runs, in a test that has failed half-way too: the mirror's
// ticker would keep virtual time running for ever. It has to be called in the
// bubble.
func (l *lab) close() {
	l.server.Heal("reader")
	l.server.Heal("writer")
	for _, g := range l.gates {
		g.release()
	}
	l.end()
	l.server.Close() // ends the term
	l.group.Wait()
	_ = l.stop(errEnd)
	synctest.Wait()
}

// run starts the mirror and does not wait for it to load.
func (l *lab) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = l.mirror.Run(ctx) })
	l.stop = func(cause error) error {
		cancel(cause)
		running.Wait()
		return err
	}
}

// load starts the mirror and waits until it has loaded.
func (l *lab) load() {
	l.t.Helper()
	l.run()
	synctest.Wait()
	select {
	case <-l.mirror.Loaded():
	default:
		l.t.Fatal("mirror is not loaded")
	}
}

// pass lets virtual time pass, and everything happen that happens in it.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// within is a context that ends after d of virtual time.
func (l *lab) within(d time.Duration) context.Context {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, d)
	l.t.Cleanup(cancel)
	return ctx
}

// put writes a memento past the term, as a stranger with etcdctl would.
func (l *lab) put(name rebind.Name, payload string) {
	l.server.Put(name, rebind.Content{Payload: []byte(payload)}, "")
}

// nudge makes a revision that changes no memento.
func (l *lab) nudge() rebind.Revision {
	l.server.DeleteRecord("nobody")
	return l.server.Revision()
}

// commit writes through the term, past any persister.
func (l *lab) commit(ops ...rebind.Op) rebind.Revision {
	l.t.Helper()
	base := make([]rebind.Revision, len(ops))
	for {
		rev, err := l.term.Commit(l.ctx, driver.Writes(rebind.Delta{ID: "op", Ops: ops}, base))
		var moved *driver.BaseError
		if errors.As(err, &moved) {
			copy(base, moved.Actual)
			continue
		}
		if err != nil {
			l.t.Fatalf("commit: %v", err)
		}
		return rev
	}
}

// putOp and deleteOp make operations that expect nothing.
func putOp(name rebind.Name, payload string) rebind.Op {
	return rebind.Op{Name: name, Put: &rebind.Content{Payload: []byte(payload)}}
}

func deleteOp(name rebind.Name) rebind.Op { return rebind.Op{Name: name} }

// reads checks what the mirror shows of one memento; "" is nothing.
func (l *lab) reads(name rebind.Name, want string) {
	l.t.Helper()
	if got := payloadIn(l.mirror.View(), name); got != want {
		l.t.Errorf("%s reads as %q, want %q", name, got, want)
	}
}

func payloadIn(v *rebind.View, name rebind.Name) string {
	m, err := v.Get(name)
	if err != nil {
		return ""
	}
	return string(m.Payload)
}

// tap passes on what a source says, counts it, and has faults of its own.
type tap struct {
	driver.Source
	loads, heads, watches atomic.Int64
	beforeLoad            func() error  // nil or an error that fails the load
	beforePage            func()        // before each page of a load
	slow                  time.Duration // how long a read of the revision takes

	mu      sync.Mutex // guards the fields below
	snap    []context.CancelCauseFunc
	noHead  error         // what reads of the revision fail with
	holding chan struct{} // closed when changes come again; nil while they do
}

// failHeads has reads of the revision fail, or ends that.
func (s *tap) failHeads(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noHead = err
}

// holdBack has streams tell how far they have come, and keep the changes back until
// letGo.
func (s *tap) holdBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = make(chan struct{})
}

func (s *tap) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.holding)
	s.holding = nil
}

// late is a stream that may break the order.
type late struct {
	driver.Watcher
	tap   *tap
	kept  driver.Batch  // told when until is closed
	until chan struct{} // nil while nothing is kept
}

func (w *late) Next(ctx context.Context) (driver.Batch, error) {
	if w.until != nil {
		select {
		case <-w.until:
			w.until = nil
			return w.kept, nil
		case <-ctx.Done():
			return driver.Batch{}, context.Cause(ctx)
		}
	}
	b, err := w.Watcher.Next(ctx)
	w.tap.mu.Lock()
	holding := w.tap.holding
	w.tap.mu.Unlock()
	if holding != nil && len(b.Changes) > 0 {
		w.kept, w.until = b, holding
		return driver.Batch{Revision: b.Revision + 1}, nil
	}
	return b, err
}

func (s *tap) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	s.loads.Add(1)
	if s.beforeLoad != nil {
		if err := s.beforeLoad(); err != nil {
			return 0, err
		}
	}
	return s.Source.Load(ctx, func(p driver.Page) error {
		if s.beforePage != nil {
			s.beforePage()
		}
		return page(p)
	})
}

func (s *tap) Head(ctx context.Context) (rebind.Revision, error) {
	s.heads.Add(1)
	if s.slow > 0 {
		<-time.After(s.slow)
	}
	s.mu.Lock()
	err := s.noHead
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.Source.Head(ctx)
}

func (s *tap) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	s.watches.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap = append(s.snap, cancel)
	return &late{Watcher: s.Source.Watch(ctx, after), tap: s}
}

// breakWatch ends all streams, as a connection that breaks does.
func (s *tap) breakWatch(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.snap {
		cancel(why)
	}
	s.snap = nil
}
