package etcdstore_test

import (
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/etcdstore"
)

// Promise: a program that has a client of etcd's of its own needs no endpoint. The
// store makes what it needs by it, and closes that.
func TestOpen_ByAClientOfTheCallers(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.Endpoints = nil
	var made []*clientv3.Client
	cfg.Client = func() (*clientv3.Client, error) {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{l.endpoint}})
		made = append(made, c)
		return c, err
	}
	l.stores["a"] = l.open(cfg)
	term := l.elect(l.join("a"))
	if _, err := l.commit(term, "op", 0, put("entity/x", "1")); err != nil {
		t.Error(err)
	}
	if err := l.stores["a"].Close(); err != nil {
		t.Error(err)
	}
	delete(l.stores, "a")
	for i, c := range made {
		if c.Ctx().Err() == nil {
			t.Errorf("client %d of %d is still open", i+1, len(made))
		}
	}
}

func TestOpen_SaysWhyThereIsNoClient(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.Endpoints = nil
	absent := errors.New("no server yet")
	cfg.Client = func() (*clientv3.Client, error) { return nil, absent }
	if _, err := etcdstore.Open(l.ctx(), cfg); !errors.Is(err, absent) {
		t.Errorf("open = %v, want %v", err, absent)
	}
	cfg.Endpoints = []string{l.endpoint}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "leave out endpoints") {
		t.Errorf("endpoints and a client: %v", err)
	}
}
