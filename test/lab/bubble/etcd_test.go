package bubble_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/onestream"
)

// neverEnds is the channel of the context in which etcd's client keeps its watches. Nothing
// is ever sent on it, so nil works as well.
//
//go:linkname neverEnds go.etcd.io/etcd/client/v3.valCtxCh
var neverEnds chan struct{}

func TestMain(m *testing.M) {
	if neverEnds == nil {
		panic("etcd's client no longer has the channel that never ends: see watch.go of its package")
	}
	neverEnds = nil
	wal.SegmentSizeBytes = 1 << 20
	os.Exit(m.Run())
}

const (
	tick          = 100 * time.Millisecond
	electionTicks = 10
)

// etcd is a one-member server that can stop dead and start again with what is on its disk.
type etcd struct {
	t   testing.TB
	dir string

	mu      sync.Mutex // guards the field below
	serving *serving   // nil while it is stopped
}

// serving is one run of the server, as its clients see it.
type serving struct {
	server *etcdserver.EtcdServer
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  pb.WatchClient
	life   context.Context // ends with it
	end    context.CancelFunc
}

// newEtcd starts an empty server. Stop it when done.
func newEtcd(t testing.TB) *etcd {
	parent := "/dev/shm" // a file system in memory: syncs are real, and would take real time
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "bubble")
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{t: t, dir: dir}
	e.start()
	return e
}

// start returns once the server serves.
func (e *etcd) start() { e.startAfter(func(pb.KVClient) {}) }

// startAfter is start, with first called before anybody else can reach the server.
func (e *etcd) startAfter(first func(pb.KVClient)) {
	server, err := etcdserver.NewServer(e.config())
	if err != nil {
		e.t.Fatalf("start etcd: %v", err)
	}
	server.Start()
	<-server.ReadyNotify()
	s := &serving{
		server: server,
		kv:     adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(server)),
		lease:  adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(server)),
		watch:  adapter.WatchServerToWatchClient(v3rpc.NewWatchServer(server)),
	}
	first(s.kv)
	s.life, s.end = context.WithCancel(context.Background())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = s
}

// stop makes the server vanish. What it has synced stays.
func (e *etcd) stop() {
	e.mu.Lock()
	s := e.serving
	e.serving = nil
	e.mu.Unlock()
	if s == nil {
		return
	}
	s.end()
	s.server.HardStop()
}

// save stops the server, copies its disk, and starts it again.
func (e *etcd) save() (dir string) {
	e.stop()
	defer e.start()
	dir = e.dir + "-saved"
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(e.dir))); err != nil {
		e.t.Fatalf("save etcd's data: %v", err)
	}
	return dir
}

// putBack replaces the disk by a copy and makes the server continue from there to a
// revision, with changes that no plane sees, before anybody can reach it.
func (e *etcd) putBack(dir string, goOn int64) {
	e.stop()
	if err := errors.Join(os.RemoveAll(e.dir), os.CopyFS(e.dir, os.DirFS(dir))); err != nil {
		e.t.Fatalf("put back etcd's data: %v", err)
	}
	e.startAfter(func(kv pb.KVClient) {
		for at := int64(0); at < goOn; {
			resp, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("/elsewhere")})
			if err != nil {
				e.t.Fatalf("go on: %v", err)
			}
			at = resp.Header.Revision
		}
	})
}

// remove deletes the disk of a stopped server.
func (e *etcd) remove() {
	if err := errors.Join(os.RemoveAll(e.dir), os.RemoveAll(e.dir+"-saved")); err != nil {
		e.t.Errorf("remove etcd's data: %v", err)
	}
}

// present is the running server; nil while it is stopped.
func (e *etcd) present() *serving {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.serving
}

func (e *etcd) config() config.ServerConfig {
	const name = "member"
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	log := zap.NewNop()
	return config.ServerConfig{
		Name: name, DataDir: e.dir, Logger: log,
		ClientURLs: types.URLs{peer}, PeerURLs: types.URLs{peer},
		InitialPeerURLsMap: types.URLsMap{name: types.URLs{peer}}, InitialClusterToken: "bubble", NewCluster: true,
		TickMs: uint(tick / time.Millisecond), ElectionTicks: electionTicks, InitialElectionTickAdvance: true,
		SnapshotCount: 10_000, SnapshotCatchUpEntries: 5000, MaxTxnOps: 128, MaxRequestBytes: 1536 << 10,
		WarningApplyDuration: time.Hour, WarningUnaryRequestDuration: time.Hour,
		BackendBatchInterval: time.Second, AuthToken: "simple", BcryptCost: 4, TokenTTL: 300,
		DowngradeCheckTime: time.Minute, StrictReconfigCheck: true, PreVote: true, MaxLearners: 1,
		ServerFeatureGate: features.NewDefaultServerFeatureGate(name, log),
	}
}

// client makes a client that reaches etcd through a gate.
func client(g *gate) *clientv3.Client {
	c := clientv3.NewCtxClient(context.Background())
	c.KV = clientv3.NewKVFromKVClient(g, c)
	c.Lease = clientv3.NewLeaseFromLeaseClient(g, c, time.Second)
	c.Watcher = clientv3.NewWatchFromWatchClient(g, c)
	return c
}

// nodeClient is a node's client: its watches end with their streams.
func nodeClient(g *gate) *clientv3.Client {
	c := client(g)
	c.Watcher = clientv3.NewWatchFromWatchClient(onestream.Client(g), c)
	return c
}

// id formats a lease as in the names of election keys.
func id(lease int64) string { return fmt.Sprintf("%x", lease) }
