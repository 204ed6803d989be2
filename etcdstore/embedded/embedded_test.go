package embedded_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/internal/filelock"
)

func start(t *testing.T, dir, url string) *embedded.Etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embedded.ReadyTimeout)
	defer cancel()
	e, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: url})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestStart_KeepsDataOverRestart(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir, "http://127.0.0.1:0")
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(ctx, embedded.Config{Dir: dir, ClientURL: "http://127.0.0.1:0"}); !errors.Is(err, filelock.ErrHeld) {
		t.Fatalf("second start = %v, want ErrHeld", err)
	}
	c.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = start(t, dir, e.Endpoint())
	defer e.Close()
	c, err = clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.Get(ctx, "k")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("get after restart: %v %v", resp, err)
	}
}

// A process can die at the moment when etcd has created its log and written nothing to it.
// etcd alone would never start from there.
func TestStart_AfterAFirstStartThatWasCutShort(t *testing.T) {
	dir := t.TempDir()
	log, err := wal.Create(zap.NewNop(), filepath.Join(dir, "member", "wal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, dir, "http://127.0.0.1:0").Close(); err != nil {
		t.Fatal(err)
	}
}

// Without a URL only the member's own user can reach it, however long the path of its
// directory is.
func TestStart_SocketOfOnesOwn(t *testing.T) {
	for name, dir := range map[string]string{
		"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("long", 50)),
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // with the leftovers of the first
				e := start(t, dir, "")
				where, err := url.Parse(e.Endpoint())
				if err != nil || where.Scheme != "unix" {
					t.Fatalf("it listens at %s", e.Endpoint())
				}
				inside, err := os.Stat(filepath.Dir(where.Path))
				if err != nil || inside.Mode().Perm() != 0o700 {
					t.Errorf("the socket's directory: %v, %v", inside.Mode(), err)
				}
				c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := c.Put(ctx, "k", "v"); err != nil {
					t.Error(err)
				}
				c.Close()
				if err := e.Close(); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(where.Path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the socket was not removed: %v", err)
				}
				if _, err := os.Stat(filepath.Dir(where.Path)); name == "long" && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("its directory was not removed: %v", err)
				}
			}
		})
	}
}
