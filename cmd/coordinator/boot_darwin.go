package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bootID names the time since this machine was started: no two of a machine, or of two,
// are alike.
func bootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return id, nil
}
