//go:build !linux

package httpapi

import (
	"net"
	"time"
)

// peerClosed leaves it to the server to notice that the other side has ended the connection.
func peerClosed(net.Conn) bool { return false }

// sinceReceived does not know.
func sinceReceived(net.Conn) (ago time.Duration, known bool) { return 0, false }
