// This file asks the kernel what it knows of a connection.

package httpapi

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// peerClosed reports whether the peer has closed the connection. The server notices that too,
// but not before it starts a request that was waiting together with the close.
func peerClosed(c net.Conn) bool {
	s := socket(c)
	if s == nil {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(look, 0)
		ended = err == nil && n > 0
	})
	return ended || err != nil
}

// sinceReceived returns how long ago the kernel received the last data on a connection.
func sinceReceived(c net.Conn) (ago time.Duration, known bool) {
	s := socket(c)
	if s == nil {
		return 0, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if known = err == nil; known {
			ago = time.Duration(info.Last_data_recv) * time.Millisecond
		}
	})
	return ago, known && err == nil
}
