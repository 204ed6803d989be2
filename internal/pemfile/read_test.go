package pemfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := pemfile.Read(file); err != nil || string(text) != "secret\n" {
		t.Errorf("file = %q, %v", text, err)
	}
	if _, err := pemfile.Read("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("file without an end = %v, want it refused", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pemfile.Read(pipe); err == nil || !strings.Contains(err.Error(), "did not deliver") {
		t.Errorf("pipe without a writer = %v, want it refused", err)
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		if err := os.WriteFile(pipe, []byte("secret"), 0); err != nil {
			t.Error(err)
		}
	})
	if text, err := pemfile.Read(pipe); err != nil || string(text) != "secret" {
		t.Errorf("pipe = %q, %v", text, err)
	}
}
