//go:build !linux

package wire

import (
	"errors"
	"os"
)

const tunDevice = "/dev/net/tun"

func newDevice(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func within(string, func() error) error { return errors.ErrUnsupported }
