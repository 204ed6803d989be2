// This file replaces socket_linux.go where the kernel cannot be asked.

//go:build !linux

package httpapi

import (
	"net"
	"time"
)

// peerClosed always returns false: only the server notices that the peer has closed the
// connection.
func peerClosed(net.Conn) bool { return false }

// sinceReceived never knows.
func sinceReceived(net.Conn) (ago time.Duration, known bool) { return 0, false }
