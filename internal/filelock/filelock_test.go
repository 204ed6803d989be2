package filelock_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		t.Errorf("lock contains %q, %v, want this process", text, err)
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

// A foreign file in the place of the lock is neither followed nor emptied.
func TestTake_LeavesWhatIsNotItsOwn(t *testing.T) {
	const precious = "precious\n"
	for name, plant := range map[string]func(target, path string) error{
		"a symbolic link":            os.Symlink,
		"a symbolic link to nothing": func(target, path string) error { return os.Symlink(target+".none", path) },
		"another name of a file":     os.Link,
		"a directory":                func(_, path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":                     func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			target, path := filepath.Join(dir, "target"), filepath.Join(dir, "lock")
			if err := os.WriteFile(target, []byte(precious), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := plant(target, path); err != nil {
				t.Fatal(err)
			}
			lock, err := filelock.Take(path)
			if err == nil {
				t.Error("the lock is taken")
				_ = lock.Release()
			}
			if name != "a directory" && !errors.Is(err, filelock.ErrForeign) {
				t.Errorf("take = %v, want ErrForeign", err)
			}
			if text, err := os.ReadFile(target); err != nil || string(text) != precious {
				t.Errorf("the file now contains %q, %v", text, err)
			}
			if _, err := os.Lstat(target + ".none"); !errors.Is(err, os.ErrNotExist) {
				t.Error("a file was created where the link points")
			}
		})
	}
}

func TestTake_FileOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := filelock.Take(path); !errors.Is(err, filelock.ErrForeign) {
		t.Errorf("take = %v, want ErrForeign", err)
	}
	if err := os.Chown(filepath.Dir(path), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	lock, err := filelock.Take(path)
	if err != nil {
		t.Fatalf("in that user's own directory: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}
