package etcdauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/etcdstore"
)

// This file compares the roles and users that etcd has with the wanted ones, and makes the
// changes.

// User is a user of etcd and the roles of a plane that the user has.
type User struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// Grants are the roles and users that etcd is to have for a plane: roles with exactly these
// permissions, and users with exactly these of the plane's roles. Other roles and users are
// left alone.
type Grants struct {
	Prefix, Plane string
	Roles         []Role
	Users         []User
	// Password returns the password of users that are created. With nil they are known by
	// the common name of their client certificate alone.
	Password func() (string, error)
}

// Step is one change of etcd's roles and users.
type Step struct {
	// Args are the arguments that etcdctl would take for it.
	Args []string

	take func(context.Context, clientv3.Auth) error
}

// String returns the step as a command to type.
func (s *Step) String() string {
	words := []string{"etcdctl"}
	for _, arg := range s.Args {
		if strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("/._-~:=@", r) && (r < '0' || r > 'z' || r > '9' && r < 'A' || r > 'Z' && r < 'a')
		}) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// Steps returns the changes for an etcd that has none of it yet.
func (g *Grants) Steps() []Step {
	var steps []Step
	for _, r := range g.Roles {
		steps = append(steps, grantRole(r, nil)...)
	}
	for _, u := range g.Users {
		steps = append(steps, g.grantUser(u, nil)...)
	}
	return steps
}

// Apply makes the changes that etcd needs, tells each once it is made, and reports whether
// etcd's auth is enabled: before that, etcd refuses nobody anything. If it is, cfg has to
// name a user who may do this, such as root. Of cfg only what says where etcd is and who
// asks counts.
func (g *Grants) Apply(ctx context.Context, cfg etcdstore.Config, told func(Step)) (enabled bool, err error) {
	client, explain, err := cfg.Dial(ctx)
	if err != nil {
		return false, err
	}
	defer client.Close()
	status, err := client.AuthStatus(ctx)
	if err != nil {
		return false, fmt.Errorf("ask etcd whether its auth is enabled: %w", explain(err))
	}
	if err := g.applyTo(ctx, client.Auth, told); err != nil {
		return status.Enabled, explain(err)
	}
	return status.Enabled, nil
}

func (g *Grants) applyTo(ctx context.Context, auth clientv3.Auth, told func(Step)) error {
	take := func(steps []Step) error {
		for _, s := range steps {
			if err := s.take(ctx, auth); err != nil {
				return fmt.Errorf("%s: %w", s.String(), err)
			}
			told(s)
		}
		return nil
	}
	for _, r := range g.Roles {
		present, err := auth.RoleGet(ctx, r.Name)
		if err != nil && !errors.Is(err, rpctypes.ErrRoleNotFound) {
			return fmt.Errorf("look for role %s: %w", r.Name, err)
		}
		if err := take(grantRole(r, present)); err != nil {
			return err
		}
	}
	for _, u := range g.Users {
		present, err := auth.UserGet(ctx, u.Name)
		if err != nil && !errors.Is(err, rpctypes.ErrUserNotFound) {
			return fmt.Errorf("look for user %s: %w", u.Name, err)
		}
		if err := take(g.grantUser(u, present)); err != nil {
			return err
		}
	}
	return nil
}

// grantRole returns the steps that make a role as wanted; present is what it is, nil if it
// does not exist.
func grantRole(r Role, present *clientv3.AuthRoleGetResponse) []Step {
	var steps []Step
	had := make(map[Permission]bool)
	if present == nil {
		steps = append(steps, Step{[]string{"role", "add", r.Name}, func(ctx context.Context, auth clientv3.Auth) error {
			_, err := auth.RoleAdd(ctx, r.Name)
			return err
		}})
	} else {
		for _, p := range present.Perm {
			has := Permission{strings.ToLower(p.PermType.String()), string(p.Key), string(p.RangeEnd)}
			had[has] = true
			if !slices.ContainsFunc(r.Permissions, func(w Permission) bool { return w.Key == has.Key && w.RangeEnd == has.RangeEnd }) {
				steps = append(steps, revokePermission(r.Name, has))
			}
		}
	}
	for _, p := range r.Permissions {
		if !had[p] { // a grant replaces one of the same keys
			steps = append(steps, grantPermission(r.Name, p))
		}
	}
	return steps
}

func grantPermission(role string, p Permission) Step {
	kind := clientv3.PermissionType(authpb.Permission_Type_value[strings.ToUpper(p.Type)])
	return Step{append([]string{"role", "grant-permission", role, p.Type}, p.keys()...), func(ctx context.Context, auth clientv3.Auth) error {
		_, err := auth.RoleGrantPermission(ctx, role, p.Key, p.RangeEnd, kind)
		return err
	}}
}

func revokePermission(role string, p Permission) Step {
	return Step{append([]string{"role", "revoke-permission", role}, p.keys()...), func(ctx context.Context, auth clientv3.Auth) error {
		_, err := auth.RoleRevokePermission(ctx, role, p.Key, p.RangeEnd)
		return err
	}}
}

// keys returns the keys of a permission as arguments of etcdctl.
func (p *Permission) keys() []string {
	switch p.RangeEnd {
	case "":
		return []string{p.Key}
	case clientv3.GetPrefixRangeEnd(p.Key):
		return []string{"--prefix", p.Key}
	default:
		return []string{p.Key, p.RangeEnd}
	}
}

// grantUser returns the steps that give a user the wanted roles and take other roles of the
// same plane; present is what the user is, nil if there is none.
func (g *Grants) grantUser(u User, present *clientv3.AuthUserGetResponse) []Step {
	var steps []Step
	var had []string
	if present == nil {
		steps = append(steps, g.addUser(u.Name))
	} else {
		had = present.Roles
	}
	for _, role := range had {
		kind, ours := strings.CutPrefix(role, rolePrefix(g.Prefix, g.Plane))
		if ours && !strings.Contains(kind, "/") && !slices.Contains(u.Roles, role) {
			steps = append(steps, Step{[]string{"user", "revoke-role", u.Name, role}, func(ctx context.Context, auth clientv3.Auth) error {
				_, err := auth.UserRevokeRole(ctx, u.Name, role)
				return err
			}})
		}
	}
	for _, role := range u.Roles {
		if !slices.Contains(had, role) {
			steps = append(steps, Step{[]string{"user", "grant-role", u.Name, role}, func(ctx context.Context, auth clientv3.Auth) error {
				_, err := auth.UserGrantRole(ctx, u.Name, role)
				return err
			}})
		}
	}
	return steps
}

func (g *Grants) addUser(name string) Step {
	if g.Password == nil {
		return Step{[]string{"user", "add", "--no-password", name}, func(ctx context.Context, auth clientv3.Auth) error {
			_, err := auth.UserAddWithOptions(ctx, name, "", &clientv3.UserAddOptions{NoPassword: true})
			return err
		}}
	}
	return Step{[]string{"user", "add", name}, func(ctx context.Context, auth clientv3.Auth) error {
		password, err := g.Password()
		if err == nil {
			_, err = auth.UserAdd(ctx, name, password)
		}
		return err
	}}
}
