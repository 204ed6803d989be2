package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/credentials"
)

func newToken(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME ROLE FILE",
		Short: "Make a token for the API",
		Long: `Make a token with which NAME shows the nodes of a plane who it is. The token goes
into FILE, which only its owner may read and which commands take by --token-file.
The line with which nodes take it is written to standard output: it goes into the
file that each node is given by --auth-token-file, and holds no secret. Nodes read
that file again when it has changed.

ROLE is viewer, who may read; operator, who may operate the plane and write
mementos; or admin, who may do everything.`,
		Example: `  coordinator token alice admin alice.token >> tokens
  coordinator run --auth-token-file tokens
  coordinator status --token-file alice.token`,
		Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			role, err := credentials.ParseRole(args[1])
			if err != nil {
				return usageError{err}
			}
			token, line, err := credentials.NewToken(args[0], role)
			if err != nil {
				return usageError{err}
			}
			file, err := createNew(args[2])
			if err != nil {
				return err
			}
			defer file.discard()
			if _, err = fmt.Fprintln(file, token); err != nil {
				return fmt.Errorf("write token: %w", err)
			}
			// Nobody wants a token that no node is told to take.
			if _, err = fmt.Fprintln(s.out, line); err != nil {
				return err
			}
			return file.commit()
		},
	}
}
