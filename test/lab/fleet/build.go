package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/coordinator-ha/coordinator/test/lab/mutants"
)

// Binaries are the programs that a fleet runs.
type Binaries struct {
	Etcd, Coordinator string
}

// errNoModule is returned by Build outside of the source tree.
var errNoModule = errors.New("not within the project's source")

// Build builds the programs into a directory. The node is built from a mutant if one is
// named.
func Build(ctx context.Context, dir, mutant string) (Binaries, error) {
	source, err := sourceRoot()
	if err != nil {
		return Binaries{}, err
	}
	node := []string{"build"}
	if mutant != "" {
		m, err := mutants.Named(mutant)
		if err != nil {
			return Binaries{}, fmt.Errorf("build the node: %w", err)
		}
		overlay, err := m.Overlay(source, dir)
		if err != nil {
			return Binaries{}, fmt.Errorf("build the node: %w", err)
		}
		node = append(node, "-overlay", overlay)
	}
	b := Binaries{Etcd: filepath.Join(dir, "etcd"), Coordinator: filepath.Join(dir, "coordinator")}
	for _, args := range [][]string{
		{"build", "-o", b.Etcd, "./test/etcd"},
		append(node, "-o", b.Coordinator, "./cmd/coordinator"),
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return b, nil
}

// sourceRoot finds the project's source from the working directory.
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
