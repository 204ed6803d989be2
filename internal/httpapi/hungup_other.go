//go:build !linux

package httpapi

import (
	"net"
	"time"
)

// hungUp leaves it to the server to notice that the other side has ended the connection.
func hungUp(net.Conn) bool { return false }

// received does not know.
func received(net.Conn) (ago time.Duration, known bool) { return 0, false }
