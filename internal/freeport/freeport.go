// Package freeport finds ports for the servers that tests start as processes, which
// cannot be handed a listener.
package freeport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// Ports are taken from below those that kernels give to outgoing connections: of one
// of those a test can be robbed between asking for it and listening there.
const (
	lowest = 10_000
	count  = 20_000
)

// next is the port to try next. Test processes that run beside each other begin at
// different ones.
var next = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(int64(os.Getpid() % 200 * (count / 200)))
	return n
}()

var errNone = errors.New("no free port")

// Address returns a loopback address that nobody listens at, and each only once.
func Address() (string, error) {
	for range count {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+next.Add(1)%count)
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errNone
}
