// Says why a connection between nodes, or from a command to a node, is not trusted.

package credentials

import (
	"errors"
	"fmt"

	"github.com/coordinator-ha/coordinator/internal/tlserror"
)

// ErrTrust is returned when a connection failed because one side does not trust the other.
// No request was answered or carried out over it.
var ErrTrust = errors.New("no trusted connection")

// Flags are the names of the flags that an explanation mentions.
type Flags struct{ CA, Cert string }

// Explain turns the error of a connection into an [ErrTrust] that says in one line what is
// wrong and what to do. It returns nil if the error is not about trust.
func Explain(err error, flags Flags) error {
	why := tlserror.Explain(err, tlserror.Peer{Name: "it", Whose: "its", CA: flags.CA, Cert: "see " + flags.Cert})
	if why == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrTrust, why)
}
