package etcdstore

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file says which keys a node writes. All nodes read everything in the plane.
// etcd enforces it where its auth is enabled and nodes have the roles of [Roles]:
// then a node in mode hot_backup cannot lead, whatever it does.

// written names the spans that a node writes in a mode; an empty node stands for
// any.
//
//   - its own record, and what is kept of itself when it has left: every node that is
//     in the plane
//   - what is kept of others, a pause, the election, the term, and all that is written
//     in a term: the nodes that may be promoted
//   - the guard and the state, and no more: a disabled node
func (k keys) written(mode modes.Mode, node string) []span {
	if mode == modes.Disabled {
		return []span{single(k.guard()), single(k.meta()), prefixed(k.mementos())}
	}
	record, left := prefixed(k.nodes()), prefixed(k.left())
	if node != "" {
		record = single(k.node(node))
	}
	if !mode.Promotable() {
		if node != "" {
			left = single(k.leftNode(node))
		}
		return []span{record, left}
	}
	return []span{
		record, left, single(k.pause()),
		prefixed(k.election()), single(k.term()), single(k.meta()), prefixed(k.mementos()),
		prefixed(k.history()), single(k.handover()),
	}
}

// Writable sends what the node of r writes in its mode behind a comparison that
// never holds: etcd looks all the same whether it is allowed, and whether there is
// room for it.
func (s *Store) Writable(ctx context.Context, r driver.Record) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	spans := s.keys.written(r.Mode, r.ID)
	if r.Mode == modes.Disabled && r.State == modes.StateFailed {
		spans = []span{single(s.keys.leftNode(r.ID))} // it was disabled while it ran, and took no guard
	}
	// The first span is of one key. It stands for all as to the room for a put.
	writes := []clientv3.Op{clientv3.OpPut(spans[0].from, "")}
	for _, sp := range spans[1:] {
		writes = append(writes, sp.delete())
	}
	_, err := s.client.Txn(ctx).If(s.keys.never()).Then(writes...).Commit()
	if err != nil {
		return fmt.Errorf("see whether the store takes this node's writes: %w", s.access.explain(ctx, s.client, s.access.meaning(err)))
	}
	return nil
}

// Role is an etcd role for the nodes of one plane. The zero Node says that it is for
// all nodes in these modes, which then could write each other's records.
type Role struct {
	Name        string       `json:"name"`
	Modes       []modes.Mode `json:"modes"`
	Node        string       `json:"node,omitempty"`
	Permissions []Permission `json:"permissions"`
}

// Permission lets whoever has a role read, or write and delete, the keys from Key up
// to, and not with, RangeEnd; Key alone if RangeEnd is empty. It is what etcd stores.
type Permission struct {
	Type     string `json:"type"`
	Key      string `json:"key"`
	RangeEnd string `json:"range_end,omitempty"`
}

// The types of a permission.
const (
	PermissionRead  = "read"
	PermissionWrite = "write"
)

// roleModes are the modes that share a role, under its name.
var roleModes = []struct {
	name  string
	modes []modes.Mode
}{
	{"promotable", []modes.Mode{modes.Auto, modes.Master, modes.Standby, modes.HotStandby}},
	{"hot_backup", []modes.Mode{modes.HotBackup}},
	{"disabled", []modes.Mode{modes.Disabled}},
}

// Roles returns the roles that the nodes of a plane need, one for each kind of mode,
// with the permissions they need and no more. With a node they are that node's own:
// of the records it can write only its own. A role's name holds a slash before the
// kind and a colon before the node, which no plane's and no node's name does: no two
// planes have a role in common.
func Roles(prefix, plane, node string) []Role {
	k := newKeys(prefix, plane)
	var roles []Role
	for _, kind := range roleModes {
		r := Role{Name: k.roles() + kind.name, Modes: kind.modes, Node: node}
		if node != "" {
			r.Name += ":" + node
		}
		r.Permissions = []Permission{permit(PermissionRead, prefixed(k.root))}
		for _, sp := range k.written(kind.modes[0], node) {
			r.Permissions = append(r.Permissions, permit(PermissionWrite, sp))
		}
		roles = append(roles, r)
	}
	return roles
}

// UserName is the etcd user of a plane's node. It carries the plane, so that nodes of
// two planes of one etcd are no user in common, whatever they are called.
func UserName(prefix, plane, node string) string {
	return node + "@" + strings.TrimSuffix(newKeys(prefix, plane).roles(), "/")
}

func permit(kind string, sp span) Permission {
	if sp == single(sp.from) {
		return Permission{Type: kind, Key: sp.from}
	}
	return Permission{Type: kind, Key: sp.from, RangeEnd: sp.to}
}
