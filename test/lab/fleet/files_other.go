//go:build !linux

package fleet

import (
	"errors"
	"io"
)

// canLimit reports whether the limits of another process can be set.
func canLimit() bool { return false }

// limitFiles does nothing on this system.
func limitFiles(int) (int, func() error, error) { return 0, nil, errors.ErrUnsupported }

// canFill reports whether a pipe can be filled from its reading end.
func canFill() bool { return false }

// fillPipe does nothing on this system.
func fillPipe(io.Reader) error { return errors.ErrUnsupported }
