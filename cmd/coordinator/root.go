// The command tree.

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree.
func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "coordinator",
		Short: "Run and operate a plane of nodes that share state on etcd",
		Long: `Run and operate a plane: nodes that share persisted state on etcd, with at most
one MASTER, standbys that take over, and backups that are never promoted.`,
		Example: `  # Start a node with an embedded etcd:
  coordinator run

  # Add a hot standby on the same machine, and see who leads:
  coordinator run --endpoints 127.0.0.1:2379 --listen 127.0.0.1:7401 --node-id b
  coordinator status`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkGiven(cmd.Flags()); err != nil {
				return err
			}
			return fromEnvironment(cmd)
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{unknownFlag(cmd, err)} })
	root.AddCommand(
		newRun(s), newStore(s), newConfig(s),
		newStatus(s), newHistory(s), newHealth(s), newDoctor(s),
		newMode(s), newPriority(s), newLogLevel(s), newHandover(s), newPause(s), newResume(s), newForget(s),
		newMemento(s), newExport(s), newImport(s), newAuth(s), newToken(s), newVersion(s),
	)
	root.InitDefaultCompletionCmd()
	for _, cmd := range allCommands(root) {
		checkArgs(cmd)
		completeWords(cmd)
	}
	return root
}

// allCommands returns a command and all commands below it.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}

// checkArgs makes wrong arguments a usage error, and so an unknown subcommand of a command
// that only has subcommands.
func checkArgs(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
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
