// The command "auth bootstrap": etcd roles and users that restrict what nodes can do.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/etcdstore/etcdauth"
	"github.com/coordinator-ha/coordinator/modes"
)

func newAuth(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Restrict in etcd what a plane's nodes can do",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBootstrap(s))
	return cmd
}

// bootstrap holds the settings of "auth bootstrap".
type bootstrap struct {
	grants       etcdauth.Grants
	nodes        []string
	shared       bool
	passwordFile string
	apply        bool
	endpoints    []string
	etcd         etcdFlags
}

func newBootstrap(s streams) *cobra.Command {
	var b bootstrap
	o := &operator{streams: s}
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print or create the etcd roles and users of a plane",
		Long: `Print, as etcdctl commands to review and run, the roles and users with which etcd
itself restricts what a plane's nodes can do. There is a role for each kind of mode:

  promotable   auto, master, standby and hot_standby
  hot_backup   cannot write an election, term or memento key, whatever the node does
  disabled     the guard and the state, for a node that has the plane to itself

Each role may read the plane's keys and write only those that its modes write.
Each node has a role of its own, so that it cannot write another node's record, and a
user NODE@PREFIX/PLANE with that role. Name the nodes with --node; without it, the
node that "coordinator run" would start here is meant. With --shared there is one role
for all nodes of a kind and one user with the role's name; nodes can then overwrite
each other's records.

With --apply the changes are made as the user given by --etcd-user or --etcd-cert, and
printed. Existing roles and users of this plane are corrected; others are left alone.
Setting passwords and running etcd's "auth enable" is up to you: until auth is enabled,
etcd refuses nobody.`,
		Example: `  coordinator auth bootstrap
  coordinator auth bootstrap --node a --node b --node c=hot_backup -o json
  coordinator auth bootstrap --node c=hot_backup --apply --endpoints https://etcd1:2379 \
    --etcd-cacert ca.pem --etcd-user root --etcd-password-file root.password`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&b.grants.Plane, "plane", "default", "name of the plane")
	f.StringVar(&b.grants.Prefix, "prefix", "/coordinator", "etcd prefix under which all planes are kept")
	f.StringArrayVar(&b.nodes, "node", nil, "a node and its mode, as ID or ID=MODE; the mode is auto if none is given; can be repeated (default: the host name)")
	f.BoolVar(&b.shared, "shared", false, "create one role for all nodes of a kind, where the nodes cannot be named")
	f.StringVar(&b.passwordFile, "new-password-file", "", "file with the password of the users that are created (default: none, users are known by their certificates)")
	f.BoolVar(&b.apply, "apply", false, "make the changes in etcd")
	f.Var(listOf(&b.endpoints), "endpoints", "client URLs of etcd, for --apply")
	b.etcd.flags(f)
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long --apply may take")
	o.outputFlag(cmd, "table, json or yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.checkOutput(); err != nil {
			return err
		}
		if o.timeout <= 0 {
			return usageError{fmt.Errorf("timeout %s: use a positive time", o.timeout)}
		}
		if err := b.complete(); err != nil {
			return usageError{err}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		return b.run(ctx, o)
	}
	return cmd
}

// complete derives roles and users from the flags, and reports wrong flags.
func (b *bootstrap) complete() error {
	g := &b.grants
	// The rules for a store's names hold for roles as well.
	cfg := etcdstore.Config{Prefix: g.Prefix, Plane: g.Plane, Endpoints: b.endpoints, TTL: 2 * time.Second}
	if !b.apply {
		cfg.Endpoints = []string{defaultEmbedURL}
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := b.etcd.check(len(b.endpoints) > 0); err != nil {
		return err
	}
	if b.passwordFile != "" {
		g.Password = etcdstore.PasswordFile(b.passwordFile)
		if _, err := g.Password(); err != nil {
			return err
		}
	}
	if b.shared {
		if len(b.nodes) > 0 {
			return errors.New("--shared is for nodes that cannot be named: leave out --node or --shared")
		}
		g.Roles = etcdauth.Roles(g.Prefix, g.Plane, "")
		for _, r := range g.Roles {
			g.Users = append(g.Users, etcdauth.User{Name: r.Name, Roles: []string{r.Name}})
		}
		return nil
	}
	if len(b.nodes) == 0 {
		var here runConfig
		if err := here.nameNode(); err != nil {
			return err
		}
		b.nodes = []string{here.nodeID}
	}
	for _, n := range b.nodes {
		if err := b.add(n); err != nil {
			return fmt.Errorf("node %q: %w", n, err)
		}
	}
	return nil
}

// add adds the role and the user of one node.
func (b *bootstrap) add(node string) error {
	g := &b.grants
	id, word, _ := strings.Cut(node, "=")
	if err := driver.CheckNode(id); err != nil {
		return err
	}
	mode := modes.Auto
	if word != "" {
		if err := mode.UnmarshalText([]byte(word)); err != nil {
			return err
		}
	}
	name := etcdauth.UserName(g.Prefix, g.Plane, id)
	if slices.ContainsFunc(g.Users, func(u etcdauth.User) bool { return u.Name == name }) {
		return fmt.Errorf("it is given twice")
	}
	for _, r := range etcdauth.Roles(g.Prefix, g.Plane, id) {
		if slices.Contains(r.Modes, mode) {
			g.Roles = append(g.Roles, r)
			g.Users = append(g.Users, etcdauth.User{Name: name, Roles: []string{r.Name}})
		}
	}
	return nil
}

// plan is the output of "auth bootstrap".
type plan struct {
	Plane   string          `json:"plane"`
	Prefix  string          `json:"prefix"`
	Roles   []etcdauth.Role `json:"roles"`
	Users   []etcdauth.User `json:"users"`
	Applied bool            `json:"applied"`
	// Commands are the commands to run or, with Applied, those that stand for what was
	// done.
	Commands []string `json:"commands"`
	// AuthEnabled is set only if Applied.
	AuthEnabled *bool `json:"auth_enabled,omitempty"`
}

func (b *bootstrap) run(ctx context.Context, o *operator) error {
	g := &b.grants
	p := plan{Plane: g.Plane, Prefix: g.Prefix, Roles: g.Roles, Users: g.Users, Applied: b.apply, Commands: []string{}}
	told := func(s etcdauth.Step) { p.Commands = append(p.Commands, s.String()) }
	var failure error
	if b.apply {
		cfg := etcdstore.Config{Endpoints: b.endpoints}
		b.etcd.apply(&cfg)
		enabled, err := g.Apply(ctx, cfg, told)
		p.AuthEnabled, failure = &enabled, err
	} else {
		for _, s := range g.Steps() {
			told(s)
		}
	}
	if failure != nil && len(p.Commands) == 0 {
		return failure
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	if err := o.print(body, p.table); err != nil {
		return err
	}
	return failure
}

// table prints the commands in a form that a shell can run.
func (p *plan) table(w io.Writer) error {
	var lines []string
	if !p.Applied {
		lines = append(lines,
			"# Run these as an etcd user with the right to do so, such as root. Users are known by",
			"# the common name of their client certificate; to set a password leave out --no-password.")
	}
	lines = append(lines, p.Commands...)
	switch {
	case !p.Applied:
		lines = append(lines,
			"# Once for each etcd, if auth is not enabled yet; afterwards users without a role are",
			"# refused everything:",
			"#   etcdctl user add root", "#   etcdctl user grant-role root root", "#   etcdctl auth enable")
	case len(p.Commands) == 0:
		lines = append(lines, "# Nothing had to be changed.")
	}
	if p.AuthEnabled != nil && !*p.AuthEnabled {
		lines = append(lines, "# etcd's auth is not enabled, so etcd refuses nobody yet: see etcdctl auth enable.")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}
