package main

import (
	"fmt"
	"os"
	"strings"
)

// bootID names the time since this machine was started: no two of a machine, or of two,
// are alike.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
