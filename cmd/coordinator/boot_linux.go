// The id of this boot, on Linux.

package main

import (
	"fmt"
	"os"
	"strings"
)

// bootID identifies the time since this machine was started. It differs between machines
// and between two starts of one machine.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
