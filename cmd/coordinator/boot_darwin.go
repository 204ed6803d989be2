// The id of this boot, on Darwin.

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bootID identifies the time since this machine was started. It differs between machines
// and between two starts of one machine.
func bootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return id, nil
}
