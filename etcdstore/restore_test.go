package etcdstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// front is one address behind which etcds come and go.
type front struct {
	t        *testing.T
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	behind string     // address of the etcd now there; empty for none
	conns  map[net.Conn]struct{}
	etcd   *embedded.Etcd
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, listener: listener, conns: make(map[net.Conn]struct{})}
	f.group.Go(f.serve)
	t.Cleanup(func() {
		f.down()
		listener.Close()
		f.group.Wait()
	})
	return f
}

func (f *front) serve() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		behind := f.behind
		f.mu.Unlock()
		server, err := net.Dial("tcp", behind)
		if err != nil {
			client.Close()
			continue
		}
		f.mu.Lock()
		f.conns[client], f.conns[server] = struct{}{}, struct{}{}
		f.mu.Unlock()
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			f.group.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				pair[0].Close()
				pair[1].Close()
			})
		}
	}
}

// up puts an etcd on a data directory behind the address.
func (f *front) up(dir string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.etcd, f.behind = etcd, strings.TrimPrefix(etcd.Endpoint(), "http://")
}

// drop breaks all connections; the etcd stays.
func (f *front) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropAll()
}

// dropAll is drop for who holds mu.
func (f *front) dropAll() {
	for c := range f.conns {
		c.Close()
	}
	clear(f.conns)
}

// down takes it away.
func (f *front) down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropAll()
	if f.etcd != nil {
		f.etcd.Close()
		f.etcd = nil
	}
}

// replace has the etcd of another data directory take the place of the present one.
func (f *front) replace(dir string) {
	f.down()
	f.up(dir)
}

func (f *front) open() *etcdstore.Store {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	s, err := etcdstore.Open(ctx, etcdstore.Config{
		Endpoints: []string{f.listener.Addr().String()}, Prefix: "/restore", Plane: "p", TTL: 9 * time.Second,
		Logger: zaptest.NewLogger(f.t, zaptest.Level(zap.WarnLevel)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.Close() })
	return s
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("still waiting: " + what)
	}
}

// Promise: a store that is restored from an older backup, or replaced by another
// cluster, is noticed; whatever rests on the old one ends and starts over, and terms
// go on rising.
func TestStore_RestoredOrReplaced(t *testing.T) {
	cases := map[string]struct {
		withLease bool // the backup has the presence's lease
		empty     bool // there is none: everything is lost
	}{
		"a backup from before the node joined": {},
		"a backup that still has its lease":    {withLease: true},
		"an empty store":                       {empty: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dirs := t.TempDir()
			live, backup := filepath.Join(dirs, "live"), filepath.Join(dirs, "backup")
			save := func() {
				if err := os.CopyFS(backup, os.DirFS(live)); err != nil {
					t.Fatal(err)
				}
			}
			f := newFront(t)
			f.up(live)
			if !c.withLease && !c.empty {
				f.down()
				save()
				f.up(live)
			}
			s := f.open()
			m, err := s.Join(t.Context(), recordOf("a"))
			if err != nil {
				t.Fatal(err)
			}
			if c.withLease {
				f.down()
				save()
				f.up(live)
			}
			restored(t, f, s, m, backup)
		})
	}
}

func restored(t *testing.T, f *front, s *etcdstore.Store, m driver.Presence, backup string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	term, err := storetest.Candidate{}.Lead(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		name := rebind.Name(fmt.Sprintf("entity/x%d", i))
		if _, err := term.Commit(ctx, driver.Writes(rebind.Delta{ID: "op", Ops: []rebind.Op{put(name, "1")}}, []rebind.Revision{0})); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	defer group.Wait()
	work, stop := context.WithCancel(ctx)
	defer stop()
	mirror := replica.NewMirror(s, rebind.Rules{}, zap.NewNop())
	group.Go(func() { _ = mirror.Run(work) })
	within(t, "the mirror's load", mirror.Loaded())
	if n := mirror.View().Len(); n != 20 {
		t.Fatalf("mirror has %d mementos", n)
	}
	followed := make(chan error, 1)
	seen := make(chan struct{})
	saw := sync.OnceFunc(func() { close(seen) })
	group.Go(func() { followed <- s.Follow(work, func(driver.Plane) { saw() }) })
	within(t, "the first sight of the plane", seen)
	old, err := s.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}

	f.replace(backup)

	within(t, "the end of the presence", m.Lost())
	within(t, "the end of the term", term.Context().Done())
	if cause := m.Cause(); !errors.Is(cause, driver.ErrLeaseLost) || !errors.Is(cause, driver.ErrRestored) {
		t.Errorf("cause = %v, want ErrLeaseLost for ErrRestored", cause)
	}
	// Its stream breaks with the old store, and it does not go on with the new one.
	if err := <-followed; !errors.Is(err, driver.ErrRestored) && !errors.Is(err, rebind.ErrUnavailable) {
		t.Errorf("Follow = %v, want that it ends", err)
	}
	// Revisions of the new store are not those of the old one: whoever waits for one
	// is shown the new store's.
	head, err := s.Head(ctx)
	if err != nil || head >= old {
		t.Fatalf("head = %d, %v, want less than %d", head, err, old)
	}
	if err := mirror.CatchUp(ctx, head); err != nil || mirror.View().Len() != 0 {
		t.Errorf("mirror has %d mementos, %v, want none", mirror.View().Len(), err)
	}
	_ = m.Leave(ctx, nil)
	again, err := s.Join(ctx, recordOf("a"))
	if err != nil {
		t.Fatal(err)
	}
	after := term.Number() + 100
	as := storetest.Candidate{Conditions: func() driver.Conditions { return driver.Conditions{After: after} }}
	second, err := as.Lead(ctx, again)
	if err != nil || second.Number() <= after {
		t.Errorf("term = %v, %v, want a number above %d", second, err, after)
	}
}

// otherCluster is a store that has become another cluster, whatever its revision.
type otherCluster struct {
	clientv3.KV
	now atomic.Bool
}

// Get implements clientv3.KV.
func (o *otherCluster) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := o.KV.Get(ctx, key, opts...)
	if err == nil && o.now.Load() {
		resp.Header.ClusterId++
	}
	return resp, err
}

func TestStore_AnotherClusterEndsWhatRestsOnTheFirst(t *testing.T) {
	l := newLab(t)
	other := &otherCluster{}
	etcdstore.SetKV(l.node("a"), func(kv clientv3.KV) clientv3.KV { other.KV = kv; return other })
	m := l.join("a")
	term := l.elect(m)
	if _, err := l.node("a").Head(l.ctx()); err != nil {
		t.Fatal(err)
	}
	other.now.Store(true)
	if _, err := l.node("a").Head(l.ctx()); !errors.Is(err, driver.ErrRestored) {
		t.Errorf("head = %v, want ErrRestored", err)
	}
	within(t, "the end of the presence", m.Lost())
	within(t, "the end of the term", term.Context().Done())
	if _, err := l.commit(term, "op", 0, put("entity/x", "1")); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("commit = %v, want that it is not even sent", err)
	}
	if _, err := l.node("a").Head(l.ctx()); err != nil {
		t.Errorf("second head = %v, want the new age to be the present one", err)
	}
}

// Promise: answers that overtake each other on a busy store are no sign of a
// restored one.
func TestStore_BusyIsNotRestored(t *testing.T) {
	l := newLab(t)
	m := l.join("a")
	term := l.elect(m)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var group sync.WaitGroup
	var reads, writes atomic.Int64
	for w := range 4 {
		group.Go(func() {
			for base := rebind.Revision(0); ctx.Err() == nil; writes.Add(1) {
				rev, err := term.Commit(t.Context(), driver.Writes(rebind.Delta{ID: "op", Ops: []rebind.Op{put(rebind.Name(fmt.Sprintf("entity/w%d", w)), "v")}}, []rebind.Revision{base}))
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				base = rev
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := l.node("a").Head(t.Context()); err != nil {
					t.Errorf("head: %v", err)
					return
				}
				if _, err := l.node("a").Plane(t.Context()); err != nil {
					t.Errorf("plane: %v", err)
					return
				}
				reads.Add(2)
			}
		})
	}
	group.Wait()
	select {
	case <-m.Lost():
		t.Errorf("lost: %v", m.Cause())
	default:
	}
	if reads.Load() < 100 || writes.Load() < 100 {
		t.Errorf("%d reads, %d writes: too few to prove anything", reads.Load(), writes.Load())
	}
}

// Promise: a store whose new history has overtaken the old one's revision before anybody
// asks is found by those who hold a copy of the old one: the presence and the term end,
// and the copy is made anew. Nothing else shows: the revision has only grown.
func TestStore_RestoreThatIsOvertaken(t *testing.T) {
	const x, y, z = rebind.Name("entity/x"), rebind.Name("entity/y"), rebind.Name("entity/z")
	cases := map[string]struct {
		lost func(t *testing.T, c *committer) // after the backup
		tail bool                             // nothing is written again: only what came last is lost
	}{
		"puts":                     {lost: func(t *testing.T, c *committer) { c.put(t, x, "phantom"); c.put(t, z, "phantom") }},
		"a put that is gone again": {lost: func(t *testing.T, c *committer) { c.put(t, z, "phantom"); c.remove(t, z) }},
		"a delete":                 {lost: func(t *testing.T, c *committer) { c.remove(t, y) }},
		"the tail, at rest":        {lost: func(t *testing.T, c *committer) { c.put(t, z, "phantom") }, tail: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dirs := t.TempDir()
			live, backup := filepath.Join(dirs, "live"), filepath.Join(dirs, "backup")
			f := newFront(t)
			f.up(live)
			s := f.open()
			m, err := s.Join(t.Context(), recordOf("a"))
			if err != nil {
				t.Fatal(err)
			}
			term, err := storetest.Candidate{}.Lead(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			writes := &committer{term: term, base: make(map[rebind.Name]rebind.Revision)}
			writes.put(t, x, "1")
			writes.put(t, y, "1")
			f.down()
			if err := os.CopyFS(backup, os.DirFS(live)); err != nil {
				t.Fatal(err)
			}
			f.up(live)
			var group sync.WaitGroup
			defer group.Wait()
			work, stop := context.WithCancel(t.Context())
			defer stop()
			mirror := replica.NewMirror(s, rebind.Rules{}, zap.NewNop())
			group.Go(func() { _ = mirror.Run(work) })
			within(t, "the mirror's load", mirror.Loaded())
			c.lost(t, writes)
			if err := mirror.Confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			at := mirror.Revision()
			f.down()
			if !c.tail {
				f.overtake(backup, int64(at)+10)
			}
			f.up(backup)

			within(t, "the end of the presence", m.Lost())
			within(t, "the end of the term", term.Context().Done())
			if cause := m.Cause(); !errors.Is(cause, driver.ErrRestored) {
				t.Errorf("cause = %v, want ErrRestored", cause)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for mirror.Confirm(ctx) != nil && ctx.Err() == nil { // while it finds out, and while it reloads
			}
			for name, want := range map[rebind.Name]string{x: "1", y: "1", z: ""} {
				got, err := mirror.View().Get(name)
				if want == "" && !errors.Is(err, rebind.ErrNotFound) || want != "" && (err != nil || string(got.Payload) != want) {
					t.Errorf("%s = %v, %v, want %q", name, got, err, want)
				}
			}
		})
	}
}

// committer writes through a term.
type committer struct {
	term driver.Term
	base map[rebind.Name]rebind.Revision
}

func (c *committer) put(t *testing.T, name rebind.Name, payload string) {
	t.Helper()
	c.commit(t, put(name, payload))
}

func (c *committer) remove(t *testing.T, name rebind.Name) {
	t.Helper()
	c.commit(t, rebind.Op{Name: name})
	c.base[name] = 0
}

func (c *committer) commit(t *testing.T, op rebind.Op) {
	t.Helper()
	rev, err := c.term.Commit(t.Context(), driver.Writes(rebind.Delta{ID: rand.Text(), Ops: []rebind.Op{op}}, []rebind.Revision{c.base[op.Name]}))
	if err != nil {
		t.Fatal(err)
	}
	c.base[op.Name] = rev
}

// overtake has the data of a directory go on to a revision, by changes that no plane
// sees, before anybody can reach them.
func (f *front) overtake(dir string, to int64) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop()})
	if err != nil {
		f.t.Fatal(err)
	}
	defer etcd.Close()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}})
	if err != nil {
		f.t.Fatal(err)
	}
	defer client.Close()
	for revision := int64(0); revision < to; {
		resp, err := client.Put(ctx, "/elsewhere", "")
		if err != nil {
			f.t.Fatal(err)
		}
		revision = resp.Header.Revision
	}
}
