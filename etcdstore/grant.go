package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// User is a user of etcd with those of a plane's roles that are his.
type User struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// Grants are what a plane's nodes are to be in etcd: its roles as they are here and
// no other permissions in them, users with these of the plane's roles and no others.
// What else etcd holds is left alone.
type Grants struct {
	Prefix, Plane string
	Roles         []Role
	Users         []User
	// Password is that of users who are made. nil has them known by the common name of
	// their client certificate alone.
	Password func() (string, error)
}

// Step is one change of etcd's roles and users.
type Step struct {
	// Args are what etcdctl would be given for it.
	Args []string

	take func(context.Context, clientv3.Auth) error
}

// String is the step as a command to type.
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

// Steps returns the changes for an etcd that has nothing of it yet.
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

// Apply makes in etcd the changes that it takes, telling each once it is made, and
// reports whether etcd's auth is enabled: before it is, nobody is refused anything.
// Where it is, cfg has to name a user who may do this, as root may. Of cfg only what
// says where etcd is and who asks counts.
func (g *Grants) Apply(ctx context.Context, cfg Config, told func(Step)) (enabled bool, err error) {
	if err := cfg.checkAccess(); err != nil {
		return false, err
	}
	cfg.defaults()
	a := newAccess(&cfg)
	client, err := a.dial(cfg.Endpoints)
	if err != nil {
		return false, err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.whenHopeless(cancel)()
	status, err := firstAnswer(ctx, client)
	if err != nil && !errors.Is(a.meaning(err), driver.ErrDenied) && ctx.Err() == nil {
		if why := a.diagnoseAll(ctx, cfg.Endpoints); why != nil {
			return false, fmt.Errorf("etcd%s cannot be used: %w", cfg.where(), why)
		}
		status, err = client.AuthStatus(ctx) // it may be about to start
	}
	if err != nil {
		return false, fmt.Errorf("ask etcd whether its auth is enabled: %w", a.meaning(err))
	}
	if err := g.apply(ctx, client.Auth, told); err != nil {
		return status.Enabled, a.meaning(err)
	}
	return status.Enabled, nil
}

// firstAnswer asks etcd whether its auth is enabled, and does not wait long for it.
func firstAnswer(ctx context.Context, client *clientv3.Client) (*clientv3.AuthStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.AuthStatus(ctx)
}

func (g *Grants) apply(ctx context.Context, auth clientv3.Auth, told func(Step)) error {
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

// grantRole makes a role what it is to be; present is what it is, nil for nothing.
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

// keys says as etcdctl does which keys a permission is for.
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

// grantUser gives a user the roles he is to have, and takes those of the same plane
// that he is not to have; present is what he is, nil for nothing.
func (g *Grants) grantUser(u User, present *clientv3.AuthUserGetResponse) []Step {
	var steps []Step
	var had []string
	if present == nil {
		steps = append(steps, g.addUser(u.Name))
	} else {
		had = present.Roles
	}
	for _, role := range had {
		kind, ours := strings.CutPrefix(role, newKeys(g.Prefix, g.Plane).roles())
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
