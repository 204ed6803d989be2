//go:build !linux

package httpapi

import "net"

// hungUp leaves it to the server to notice that the other side has ended the connection.
func hungUp(net.Conn) bool { return false }
