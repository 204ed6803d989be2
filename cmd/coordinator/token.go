// The command token: a new token for the API.

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/internal/credentials"
)

func newToken(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME ROLE FILE",
		Short: "Create a token for the API",
		Long: `Create a token with which NAME authenticates to the nodes of a plane. The token is
written to FILE, which only its owner may read; commands take it with --token-file.
The line that makes nodes accept it is written to standard output: add it to the file
that each node is given with --auth-token-file. The line is not secret. Nodes read
that file again when it changes.

ROLE is viewer, which may read; operator, which may also operate the plane and write
mementos; or admin, which may do everything.`,
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
			// A token is useless if the line that makes nodes accept it was not written.
			if _, err = fmt.Fprintln(s.out, line); err != nil {
				return err
			}
			return file.commit()
		},
	}
}
