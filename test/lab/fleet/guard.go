package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/etcdauth"
	"github.com/coordinator-ha/coordinator/modes"
)

// password is the password of every user of an etcd with authentication.
const password = "of the laboratory"

// guard enables authentication in etcd and makes each node a user with a role of its own.
func (f *Fleet) guard(ctx context.Context) error {
	if err := os.WriteFile(f.passwordFile(), []byte(password), 0o600); err != nil {
		return fmt.Errorf("write password: %w", err)
	}
	for _, step := range []func() error{
		func() error { _, err := f.store.UserAdd(ctx, "root", password); return err },
		func() error { _, err := f.store.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := f.store.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("enable etcd's auth: %w", err)
		}
	}
	endpoints := f.store.Endpoints()
	if err := f.store.Close(); err != nil {
		return fmt.Errorf("close etcd client: %w", err)
	}
	var err error
	if f.store, err = f.openStore(endpoints, true); err != nil {
		return err
	}
	grants := etcdauth.Grants{Prefix: prefix, Plane: plane, Password: samePassword}
	for _, n := range f.cfg.Nodes {
		r := roleOf(n.ID)
		grants.Roles = append(grants.Roles, r)
		grants.Users = append(grants.Users, etcdauth.User{Name: userOf(n.ID), Roles: []string{r.Name}})
	}
	cfg := etcdstore.Config{Endpoints: endpoints, User: "root", Password: samePassword}
	if _, err := grants.Apply(ctx, cfg, func(etcdauth.Step) {}); err != nil {
		return fmt.Errorf("make roles and users: %w", err)
	}
	return nil
}

func samePassword() (string, error) { return password, nil }

func (f *Fleet) passwordFile() string { return filepath.Join(f.cfg.Dir, "password") }

// userOf is a node's user.
func userOf(node string) string { return etcdauth.UserName(prefix, plane, node) }

// roleOf is the role of a node that may lead.
func roleOf(node string) etcdauth.Role {
	roles := etcdauth.Roles(prefix, plane, node)
	for _, r := range roles {
		for _, m := range r.Modes {
			if m == modes.Auto {
				return r
			}
		}
	}
	return roles[0]
}

// deny takes from a node the right to write a key of the plane, and returns a func that
// gives it back.
func (f *Fleet) deny(ctx context.Context, node, key string) (undo func(context.Context) error, err error) {
	role := roleOf(node)
	for _, p := range role.Permissions {
		if p.Type != etcdauth.PermissionWrite || p.Key != root+key {
			continue
		}
		if _, err := f.store.RoleRevokePermission(ctx, role.Name, p.Key, p.RangeEnd); err != nil {
			return nil, fmt.Errorf("take from %s the right to write %s: %w", node, key, err)
		}
		return func(ctx context.Context) error {
			_, err := f.store.RoleGrantPermission(ctx, role.Name, p.Key, p.RangeEnd, clientv3.PermissionType(clientv3.PermWrite))
			if err != nil {
				return fmt.Errorf("give %s the right to write %s back: %w", node, key, err)
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("%w: %s has no right to write %s", ErrInvalid, node, key)
}
