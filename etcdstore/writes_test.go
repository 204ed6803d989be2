package etcdstore_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
	"github.com/coordinator-ha/coordinator/etcdstore/etcdauth"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// password is that of all users here.
const password = "secret"

func samePassword() (string, error) { return password, nil }

// guarded starts an etcd with auth enabled and returns how root reaches it. It hashes
// passwords as cheaply as it can: every store that is opened here logs in.
func guarded(t *testing.T) clientv3.Config {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embedded.ReadyTimeout)
	defer cancel()
	anywhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	ec := embed.NewConfig()
	ec.Name, ec.Dir, ec.BcryptCost = "guarded", t.TempDir(), 4
	ec.ListenClientUrls, ec.AdvertiseClientUrls, ec.ListenPeerUrls = []url.URL{anywhere}, []url.URL{anywhere}, nil
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-ctx.Done():
		t.Fatal("etcd is not ready")
	}
	cfg := clientv3.Config{Endpoints: []string{"http://" + etcd.Clients[0].Addr().String()}}
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", password); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Username, cfg.Password, cfg.DialTimeout = "root", password, 10*time.Second
	return cfg
}

// grant makes the users of a lab's plane, each with the roles of some modes. With
// own the roles are for the node of that name.
func (l *lab) grant(own bool, users map[string][]modes.Mode) {
	l.t.Helper()
	g := etcdauth.Grants{Prefix: l.prefix, Plane: "p", Password: samePassword}
	for name, of := range users {
		node := ""
		if own {
			node = name
		}
		u := etcdauth.User{Name: name}
		for _, r := range etcdauth.Roles(l.prefix, "p", node) {
			if slices.ContainsFunc(r.Modes, func(m modes.Mode) bool { return slices.Contains(of, m) }) {
				g.Roles = append(g.Roles, r)
				u.Roles = append(u.Roles, r.Name)
			}
		}
		g.Users = append(g.Users, u)
	}
	cfg := etcdstore.Config{Endpoints: []string{l.endpoint}, User: "root", Password: samePassword}
	enabled, err := g.Apply(l.ctx(), cfg, func(etcdauth.Step) {})
	if err != nil || !enabled {
		l.t.Fatalf("grant: enabled %t, %v", enabled, err)
	}
}

// user has nodes log in as a user.
func (l *lab) user(name string) {
	l.as = func(cfg *etcdstore.Config) { cfg.User, cfg.Password = name, samePassword }
}

// Promise: a node needs no more than the roles of its modes. All that a store has to
// do is done here by a user that has these and no others.
func TestContract_WithTheRolesOfItsModesAlone(t *testing.T) {
	root := guarded(t)
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			l := newLabOn(t, root)
			l.grant(false, map[string][]modes.Mode{"node": {modes.Auto, modes.Disabled}})
			l.user("node")
			c.Run(t, l)
		})
	}
}

// backupLab is a plane that a leads, with c as a backup, each with its own role.
func backupLab(t *testing.T) (l *lab, leads driver.Term, c driver.Presence) {
	l = newLabOn(t, guarded(t))
	l.grant(true, map[string][]modes.Mode{"a": {modes.Auto}, "c": {modes.HotBackup}})
	l.user("a")
	leads = l.elect(l.join("a"))
	if _, err := l.commit(leads, "op", 0, put("entity/x", "kept")); err != nil {
		t.Fatal(err)
	}
	l.must(leads.Announce(l.ctx(), recordOf("a"), driver.HistoryEntry{Term: leads.Number()}))
	l.user("c")
	r := recordOf("c")
	r.Mode, r.State = modes.HotBackup, modes.StateHotBackup
	c, err := l.node("c").Join(l.ctx(), r)
	l.must(err)
	return l, leads, c
}

// plane reads all keys of the plane but those that its backup may write.
func (l *lab) plane() map[string]string {
	found := make(map[string]string)
	for _, kv := range l.get(l.key(""), clientv3.WithPrefix()).Kvs {
		switch key := strings.TrimPrefix(string(kv.Key), l.key("")); {
		case key == "nodes/c", key == "left/c":
		default:
			found[key] = string(kv.Value)
		}
	}
	return found
}

// Promise: a backup can do all that a backup does.
func TestRoles_ABackupCanDoItsWork(t *testing.T) {
	l, _, c := backupLab(t)
	s := l.node("c")
	r := recordOf("c")
	r.Mode, r.State = modes.HotBackup, modes.StateHotBackup
	l.must(s.Writable(l.ctx(), r))
	l.must(c.Publish(l.ctx(), r))
	p, err := s.Plane(l.ctx())
	l.must(err)
	found := 0
	_, err = s.Load(l.ctx(), func(page driver.Page) error { found += len(page.Changes); return nil })
	l.must(err)
	entries, err := s.History(l.ctx())
	l.must(err)
	if len(p.Members) != 2 || found != 1 || len(entries) != 1 {
		t.Errorf("it sees %d members, %d mementos, %d terms", len(p.Members), found, len(entries))
	}
	for what, err := range map[string]error{
		"pause": s.Pause(l.ctx(), driver.Pause{By: "c"}), "resume": s.Resume(l.ctx()), "forget": s.Forget(l.ctx(), "a"),
	} {
		if !errors.Is(err, driver.ErrDenied) {
			t.Errorf("%s: %v, want it denied: its API passes that on", what, err)
		}
	}
	r.State = modes.StateTerminated
	l.must(c.Leave(l.ctx(), &driver.Departed{Record: r, Was: modes.StateHotBackup, How: driver.DepartureStopped}))
	p, err = s.Plane(l.ctx())
	l.must(err)
	if len(p.Departed) != 1 || len(p.Members) != 1 {
		t.Errorf("after it has left: %+v", p)
	}
	l.must(s.Forget(l.ctx(), "c"))
}

// Promise: a node that was started as hot_backup, with its role, cannot write an
// election, term or memento key whatever it does. This one has forged a term that
// nothing fences, and does with it all that a master does.
func TestRoles_ABackupThatForgesATermIsRefusedByEtcd(t *testing.T) {
	l, leads, c := backupLab(t)
	forged := etcdstore.Forge(c)
	before := l.plane()
	me := driver.Member{Record: recordOf("c"), Candidacy: 1, CandidateKey: l.key("election/1")}
	for what, try := range map[string]func() error{
		"put a memento":       func() error { _, err := l.commit(forged, "forged", 0, put("entity/y", "forged")); return err },
		"delete a memento":    func() error { _, err := l.commit(forged, "forged", 1, rebind.Op{Name: "entity/x"}); return err },
		"delete all mementos": func() error { _, err := forged.Clear(l.ctx()); return err },
		"announce a term": func() error {
			return forged.Announce(l.ctx(), recordOf("c"), driver.HistoryEntry{Term: 9})
		},
		"offer a handover": func() error { return forged.Offer(l.ctx(), &driver.Offer{ID: "h"}) },
		"rehearse one":     func() error { return forged.CheckHandover(l.ctx(), me) },
		"pass a term":      func() error { return forged.Pass(l.ctx(), me, recordOf("c")) },
		"resign":           func() error { return forged.Resign(l.ctx(), recordOf("c")) },
		"take the plane": func() error {
			_, _, err := l.node("c").JoinExclusive(l.ctx(), recordOf("c"), "")
			return err
		},
	} {
		if err := try(); !errors.Is(err, driver.ErrDenied) {
			t.Errorf("%s: %v, want it denied", what, err)
		}
	}
	ctx, cancel := context.WithTimeout(l.ctx(), 2*time.Second)
	defer cancel()
	if term, err := (storetest.Candidate{}).Lead(ctx, c); err == nil {
		t.Errorf("it is elected to term %d", term.Number())
	}
	if after := l.plane(); !equal(before, after) {
		t.Errorf("the plane is %v, it was %v", after, before)
	}
	if _, err := l.commit(leads, "after", 0, put("entity/z", "1")); err != nil {
		t.Errorf("the master's next write: %v", err)
	}
}

// The same without any of our code between it and etcd: each key, in each way.
func TestRoles_ABackupIsRefusedEachForbiddenKey(t *testing.T) {
	l, _, _ := backupLab(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{l.endpoint}, Username: "c", Password: password, DialTimeout: 10 * time.Second})
	l.must(err)
	defer c.Close()
	lease, err := c.Grant(l.ctx(), 60)
	l.must(err)
	before := l.plane()
	keys := []string{
		"election/1", "term", "meta", "mementos/entity/x", "mementos/entity/y", "history/00000000000000000009", "handover",
		"guard", "nodes/a", "nodes/d", "nodes/c2", "pause", "left/a", "left/c2", "left/", "elsewhere", "",
	}
	for key := range before {
		keys = append(keys, key)
	}
	ctx := l.ctx()
	for _, key := range keys {
		key = l.key(key)
		for way, try := range map[string]func() error{
			"put":        func() error { _, err := c.Put(ctx, key, "x"); return err },
			"leased put": func() error { _, err := c.Put(ctx, key, "x", clientv3.WithLease(lease.ID)); return err },
			"delete":     func() error { _, err := c.Delete(ctx, key); return err },
			"prefix":     func() error { _, err := c.Delete(ctx, key, clientv3.WithPrefix()); return err },
			"from":       func() error { _, err := c.Delete(ctx, key, clientv3.WithFromKey()); return err },
			"txn":        func() error { _, err := c.Txn(ctx).Then(clientv3.OpPut(key, "x")).Commit(); return err },
			"txn, else":  func() error { _, err := c.Txn(ctx).Else(clientv3.OpPut(key, "x")).Commit(); return err },
			"txn in a txn": func() error {
				_, err := c.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)).Commit()
				return err
			},
		} {
			if err := try(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Errorf("%s of %s: %v, want permission denied", way, key, err)
			}
		}
	}
	for what, try := range map[string]func() error{
		"hang its record on the master's lease": func() error {
			_, err := c.Put(ctx, l.key("nodes/c"), "x", clientv3.WithLease(l.leaseOf("a")))
			return err
		},
		"hang its record on the master's lease in a txn": func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpPut(l.key("nodes/c"), "x", clientv3.WithLease(l.leaseOf("a")))).Commit()
			return err
		},
		"end the master's lease": func() error { _, err := c.Revoke(ctx, l.leaseOf("a")); return err },
		"give itself a role":     func() error { _, err := c.UserGrantRole(ctx, "c", l.prefix[1:]+"/p/promotable:a"); return err },
		"widen its role": func() error {
			_, err := c.RoleGrantPermission(ctx, l.prefix[1:]+"/p/hot_backup:c", "/", "0", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		"turn auth off":           func() error { _, err := c.AuthDisable(ctx); return err },
		"read outside the prefix": func() error { _, err := c.Get(ctx, "/other"); return err },
	} {
		if err := try(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v, want permission denied", what, err)
		}
	}
	if after := l.plane(); !equal(before, after) {
		t.Errorf("the plane is %v, it was %v", after, before)
	}
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}
