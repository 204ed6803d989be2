//go:build !linux

package fleet

import "errors"

// canLimit reports whether the limits of another process can be set.
func canLimit() bool { return false }

// limitFiles does nothing where the kernel offers nothing.
func limitFiles(int) (int, func() error, error) { return 0, nil, errors.ErrUnsupported }
