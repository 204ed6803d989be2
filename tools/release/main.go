// Command release writes a release into a directory: for each target one archive with the
// static binary, man pages, completions and the files for service managers, and one SBOM;
// and the SHA-256 sums of all of them.
//
// The same commit gives the same bytes, whenever and wherever it is built: nothing depends
// on the machine, its clock or its paths. The version is the one that Go stamps into the
// binary, from the tag of the commit or else from its time and hash.
package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// defaultTargets are the systems that a release supports.
const defaultTargets = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64"

func main() {
	root := flag.String("C", "..", "root of the source tree")
	out := flag.String("o", "dist", "directory to write into, from the root")
	targets := flag.String("targets", defaultTargets, "systems to build for, as os/arch")
	dirty := flag.Bool("dirty", false, "build from a tree that differs from its commit; the version then says so")
	flag.Parse()
	if err := run(context.Background(), *root, *out, strings.Split(*targets, ","), *dirty); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// run makes a release.
func run(ctx context.Context, root, out string, targets []string, dirty bool) error {
	t, err := openTree(ctx, root)
	if err != nil {
		return err
	}
	if t.changed && !dirty {
		return errors.New("the tree differs from its commit: commit first, or nobody could build this release again")
	}
	if !filepath.IsAbs(out) {
		out = filepath.Join(t.root, out)
	}
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return fmt.Errorf("clear %s: %w", out, err)
	}
	work, err := os.MkdirTemp("", "release")
	if err != nil {
		return fmt.Errorf("make a directory to build in: %w", err)
	}
	defer os.RemoveAll(work)
	pages, err := t.pages(ctx, work)
	if err != nil {
		return err
	}
	for _, target := range targets {
		if err := t.release(ctx, target, work, out, pages); err != nil {
			return fmt.Errorf("release for %s: %w", target, err)
		}
	}
	return writeSums(out)
}

// tree is the source of a release.
type tree struct {
	root    string
	time    time.Time // of the release
	changed bool      // time of the commit
}

// openTree inspects the commit. SOURCE_DATE_EPOCH, if set, is the time of the release.
func openTree(ctx context.Context, root string) (*tree, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	t := &tree{root: root}
	committed, err := t.output(ctx, nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return nil, err
	}
	epoch := cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), committed)
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("time of the release: %w", err)
	}
	t.time = time.Unix(seconds, 0).UTC()
	status, err := t.output(ctx, nil, "git", "status", "--porcelain")
	t.changed = status != ""
	return t, err
}

// output runs a program in the tree and returns its output.
func (t *tree) output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = t.root, append(os.Environ(), env...), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// pages creates what is the same for all targets: man pages and completions.
func (t *tree) pages(ctx context.Context, work string) ([]file, error) {
	man := filepath.Join(work, "man")
	if err := os.Mkdir(man, 0o755); err != nil {
		return nil, err
	}
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", t.time.Unix())}
	if _, err := t.output(ctx, env, "go", "test", "./cmd/coordinator", "-count=1", "-run", "^TestDocs_ManPages$", "-man", man); err != nil {
		return nil, err
	}
	files, err := filesOf(man, "man/man1")
	if err != nil {
		return nil, err
	}
	for shell, name := range map[string]string{
		"bash": "coordinator.bash", "zsh": "_coordinator", "fish": "coordinator.fish", "powershell": "coordinator.ps1",
	} {
		script, err := t.output(ctx, nil, "go", "run", "./cmd/coordinator", "completion", shell)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: "completions/" + name, text: []byte(script + "\n")})
	}
	return files, nil
}

// release writes the archive and the SBOM for one target.
func (t *tree) release(ctx context.Context, target, work, out string, pages []file) error {
	goos, goarch, ok := strings.Cut(target, "/")
	if !ok {
		return errors.New("write it as os/arch")
	}
	binary := filepath.Join(work, goos+"_"+goarch, "coordinator")
	env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch, "GOAMD64=v1", "GOARM64=v8.0"}
	if _, err := t.output(ctx, env, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", binary, "./cmd/coordinator"); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("read the contents of the binary: %w", err)
	}
	name := fmt.Sprintf("coordinator_%s_%s_%s", info.Main.Version, goos, goarch)
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files := append([]file{{name: "coordinator", text: program, mode: 0o755}}, pages...)
	for _, part := range []string{"LICENSE", "README.md", "CHANGELOG.md", "deploy"} {
		more, err := filesOf(filepath.Join(t.root, part), part)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	if err := writeArchive(filepath.Join(out, name+".tar.gz"), name, t.time, files); err != nil {
		return err
	}
	fmt.Println(filepath.Join(out, name+".tar.gz"))
	return writeSBOM(filepath.Join(out, name+".cdx.json"), info, program, t.time)
}
