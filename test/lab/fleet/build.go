package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the programs that a fleet runs.
type Binaries struct {
	Etcd, Coordinator string
}

// errNoModule is what Build says where there is nothing to build.
var errNoModule = errors.New("not within the project's source")

// Build builds the programs into a directory, with build tags for the node if some
// are given.
func Build(ctx context.Context, dir, tags string) (Binaries, error) {
	source, err := sourceRoot()
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{Etcd: filepath.Join(dir, "etcd"), Coordinator: filepath.Join(dir, "coordinator")}
	for _, args := range [][]string{
		{"build", "-o", b.Etcd, "./test/etcd"},
		{"build", "-tags", tags, "-o", b.Coordinator, "./cmd/coordinator"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return b, nil
}

// sourceRoot finds the project's source around the working directory.
func sourceRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the source: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errNoModule
		}
	}
}
