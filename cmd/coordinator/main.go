// Command coordinator runs a node of a plane, and operates planes.
//
// "coordinator run" starts a node; "coordinator store" runs a one-member etcd, to try
// several nodes on one machine. The other commands use the HTTP API of any node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/filelock"
	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// The exit codes. They are stable: scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong usage, configuration or credentials; port or directory in use
	exitRefused     = 3 // refused, nothing changed
	exitNotFound    = 4
	exitUnknown     = 5 // timed out, outcome unknown
	exitUnreachable = 6 // no node or no store reachable
)

func main() {
	quietGRPC()
	os.Exit(execute(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a command reads from and writes to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	printError(s.err, cmd, err)
	return exitCode(err)
}

// printError prints why a command failed.
func printError(to io.Writer, cmd *cobra.Command, err error) {
	if err != nil && !errors.Is(err, errQuiet) {
		fmt.Fprintf(terminalWriter{to}, "Error: %s\n", masked(err.Error()+originHint(cmd.Flags(), err)))
	}
}

// errQuiet is wrapped by errors that need no message beyond their exit code.
var errQuiet = errors.New("exit code says it all")

// usageError marks wrong usage or configuration.
type usageError struct{ error }

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }

// pendingError marks a change that continues after the command has stopped waiting.
type pendingError struct{ error }

// Unwrap returns the cause.
func (e pendingError) Unwrap() error { return e.error }

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage usageError
	var pending pendingError
	var problem *wire.Problem
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.Is(err, filelock.ErrHeld), errors.Is(err, filelock.ErrForeign), errors.Is(err, syscall.EADDRINUSE),
		errors.Is(err, client.ErrTrust), errors.Is(err, driver.ErrDenied), errors.Is(err, driver.ErrWrongServer):
		return exitUsage
	case errors.As(err, &problem):
		return problemCode(problem)
	case errors.As(err, &pending), errors.Is(err, client.ErrUnknown):
		return exitUnknown
	case errors.Is(err, driver.ErrNodeTaken), errors.Is(err, coordinator.ErrMasterExists),
		errors.Is(err, coordinator.ErrNoMaster), errors.Is(err, driver.ErrRefused),
		errors.Is(err, driver.ErrForeignPlane), errors.Is(err, driver.ErrExclusive), errors.Is(err, driver.ErrNoState):
		return exitRefused
	case errors.Is(err, errNoNode), errors.Is(err, driver.ErrNoNode):
		return exitNotFound
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrLost), errors.Is(err, client.ErrNotNode),
		errors.Is(err, rebind.ErrUnavailable):
		return exitUnreachable
	default:
		return exitFailed
	}
}

// problemCode is the exit code for a problem that a node has reported.
func problemCode(p *wire.Problem) int {
	switch p.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return exitUsage
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusMisdirectedRequest:
		return exitRefused
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusGatewayTimeout:
		return exitUnknown
	case http.StatusServiceUnavailable:
		if p.Type == wire.KindStore {
			return exitUnreachable
		}
		return exitRefused
	default:
		return exitFailed
	}
}
