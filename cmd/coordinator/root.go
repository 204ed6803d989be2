package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newRoot assembles the command line.
func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "coordinator",
		Short: "Run and operate a plane of nodes that share state on etcd",
		Long: `Run and operate a plane: nodes that share persisted state on etcd, with at most
one MASTER, standbys that take over, and backups that are never promoted.

Start a node, which brings its own etcd:
  coordinator run

Add a hot standby on the same machine, and see who leads:
  coordinator run --endpoints 127.0.0.1:2379 --listen 127.0.0.1:7401 --node-id b
  coordinator status`,
		Args:              cobra.NoArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newRun(s), newStore(s),
		newStatus(s), newHistory(s), newHealth(s), newDoctor(s),
		newMode(s), newPriority(s), newHandover(s), newPause(s), newResume(s), newForget(s),
		newMemento(s), newExport(s), newImport(s), newAuth(s), newVersion(s),
	)
	for _, cmd := range allCommands(root) {
		checked(cmd)
	}
	return root
}

// allCommands lists a command and all below it.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}

// checked makes a command's wrong arguments wrong usage, and so an unknown
// subcommand of one that only has subcommands.
func checked(cmd *cobra.Command) {
	args := cmd.Args
	if args == nil {
		args = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// envPrefix begins the names of environment variables that stand for flags.
const envPrefix = "COORDINATOR_"

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagOnly is a daemon's flag that the environment does not stand for: it can
// delete everything, and a variable outlives the moment it was meant for.
const flagOnly = "persist"

// fromEnvironment sets the flags that were not given from the environment: all of
// a daemon's but one, and of the other commands those that say whom to ask. A variable
// must not change what a command does to the plane.
func fromEnvironment(cmd *cobra.Command) error {
	daemon := cmd.Name() == "run" || cmd.Name() == "store"
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, ok := os.LookupEnv(envName(f.Name))
		if f.Changed || !ok || err != nil || f.Name == flagOnly || !(daemon || slices.Contains(askFlags, f.Name)) {
			return
		}
		if setErr := f.Value.Set(value); setErr != nil {
			err = usageError{fmt.Errorf("%s=%q: %w", envName(f.Name), value, setErr)}
			return
		}
		f.Changed = true
		f.Annotations = map[string][]string{originKey: {"environment " + envName(f.Name)}}
	})
	return err
}

// originKey annotates a flag with where its value came from, if that was not the
// command line.
const originKey = "origin"

// origin tells where the value of a flag came from.
func origin(flags *pflag.FlagSet, name string) string {
	f := flags.Lookup(name)
	switch {
	case len(f.Annotations[originKey]) > 0:
		return f.Annotations[originKey][0]
	case f.Changed:
		return "flag --" + name
	default:
		return "default"
	}
}
