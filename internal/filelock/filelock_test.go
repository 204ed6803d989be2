package filelock_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/filelock"
)

func TestTake_TellsWhoHoldsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("12345678901234567890 of a process before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := filelock.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("lock says %q, %v, want this process", text, err)
	}
	_, err = filelock.Take(path)
	if !errors.Is(err, filelock.ErrHeld) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("second take = %v, want ErrHeld with the holder's pid", err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := filelock.Take(path)
	if err != nil {
		t.Fatalf("take after release = %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}
