package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Promise: a hangup waits for no writer of a pipe that stands where the settings were.
func TestReread_WaitsForNoPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "settings.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, t.TempDir(), filepath.Join(t.TempDir(), "gone")} {
		d := &daemon{cfg: runConfig{file: path}}
		if _, err := d.reread(t.Context(), nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
