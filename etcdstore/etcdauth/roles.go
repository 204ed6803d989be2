// Package etcdauth makes etcd enforce which keys each node of a plane may write: it says
// which roles and users that takes, and creates them. It is for tools; a node needs none of
// it. Package etcdstore says which keys a node writes.
package etcdauth

import (
	"strings"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
)

// Role is an etcd role for the nodes of one plane. An empty Node says that it is for all
// nodes in these modes, which can then write each other's records.
type Role struct {
	Name        string       `json:"name"`
	Modes       []modes.Mode `json:"modes"`
	Node        string       `json:"node,omitempty"`
	Permissions []Permission `json:"permissions"`
}

// Permission lets the users of a role read, or write and delete, the keys from Key,
// included, to RangeEnd, excluded; only Key if RangeEnd is empty. It is what etcd stores.
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

// roleModes lists the modes that share a role, under its name.
var roleModes = []struct {
	name  string
	modes []modes.Mode
}{
	{"promotable", []modes.Mode{modes.Auto, modes.Master, modes.Standby, modes.HotStandby}},
	{"hot_backup", []modes.Mode{modes.HotBackup}},
	{"disabled", []modes.Mode{modes.Disabled}},
}

// Roles returns the roles that the nodes of a plane need, one for each kind of mode, with
// no permission that they do not need. If node is not empty they are that node's own, which
// can then write no other node's record. A role's name has a slash before the kind and a
// colon before the node, which no name of a plane or node contains, so no two planes share a
// role.
func Roles(prefix, plane, node string) []Role {
	cfg := etcdstore.Config{Prefix: prefix, Plane: plane}
	from, to := cfg.Keys()
	var roles []Role
	for _, kind := range roleModes {
		r := Role{Name: rolePrefix(prefix, plane) + kind.name, Modes: kind.modes, Node: node}
		if node != "" {
			r.Name += ":" + node
		}
		r.Permissions = []Permission{{Type: PermissionRead, Key: from, RangeEnd: to}}
		for _, keys := range cfg.Writes(kind.modes[0], node) {
			r.Permissions = append(r.Permissions, Permission{Type: PermissionWrite, Key: keys[0], RangeEnd: keys[1]})
		}
		roles = append(roles, r)
	}
	return roles
}

// UserName returns the etcd user of a plane's node. It contains the plane, so that nodes of
// two planes in one etcd never share a user.
func UserName(prefix, plane, node string) string {
	return node + "@" + strings.TrimSuffix(rolePrefix(prefix, plane), "/")
}

// rolePrefix begins the names of a plane's roles.
func rolePrefix(prefix, plane string) string {
	return strings.TrimPrefix(prefix, "/") + "/" + plane + "/"
}
