//go:build !linux

package wire

import (
	"errors"
	"os"
	"syscall"
)

const tunDevice = "/dev/net/tun"

// errTaken is what making a device fails with while another has its name.
const errTaken = syscall.EBUSY

func newDevice(string) (*os.File, error) { return nil, errors.ErrUnsupported }
