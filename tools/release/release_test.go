package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// git runs git with a neutral identity.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// committed creates a repository of this tree in its current state.
func committed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	err := filepath.WalkDir("../..", func(at string, entry fs.DirEntry, err error) error {
		below, relErr := filepath.Rel("../..", at)
		if err = errors.Join(err, relErr); err != nil {
			return err
		}
		switch to := filepath.Join(dir, below); {
		case slices.Contains([]string{".git", "bin", "dist", "coordinator-data"}, below):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		default:
			text, err := os.ReadFile(at)
			return errors.Join(err, os.WriteFile(to, text, 0o644))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "all")
	return dir
}

// clone clones a repository, as somebody would to build a release again.
func clone(t *testing.T, from string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	git(t, ".", "clone", "-q", from, dir)
	return dir
}

// written reads all files of a directory, by name.
func written(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filesOf(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	for _, f := range files {
		found[f.name] = f.text
	}
	return found
}

// unpack reads all files of an archive, by name.
func unpack(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// A release of one commit is the same bytes wherever it is built; it is complete, and says
// what it is made of.
func TestRelease_IsReproducible(t *testing.T) {
	target := runtime.GOOS + "/" + runtime.GOARCH
	var releases [2]map[string][]byte
	source := committed(t)
	for i, source := range []string{source, clone(t, source)} {
		out := filepath.Join(t.TempDir(), "dist")
		if err := run(t.Context(), source, out, []string{target}, false); err != nil {
			t.Fatal(err)
		}
		releases[i] = written(t, out)
	}
	first, second := releases[0], releases[1]
	if len(first) != 3 || len(second) != 3 {
		t.Fatalf("%d and %d files, want an archive, an SBOM and their sums", len(first), len(second))
	}
	var sums strings.Builder
	for name, text := range first {
		if !bytes.Equal(text, second[name]) {
			t.Errorf("%s differs when it is made again elsewhere", name)
		}
		switch {
		case strings.HasSuffix(name, ".tar.gz"):
			checkArchive(t, strings.TrimSuffix(name, ".tar.gz"), unpack(t, text))
		case strings.HasSuffix(name, ".cdx.json"):
			checkSBOM(t, text)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(first[sumsName])), "\n") {
		sum, name, _ := strings.Cut(line, "  ")
		if got := fmt.Sprintf("%x", sha256.Sum256(first[name])); got != sum || first[name] == nil {
			t.Errorf("%s has the sum %s, not %s", name, got, sum)
		}
		sums.WriteString(name)
	}
	if strings.Count(sums.String(), "coordinator_") != 2 {
		t.Errorf("sums of %q, want those of archive and SBOM", sums.String())
	}
}

// checkArchive checks that an archive has what a release promises, and a binary that knows
// its version.
func checkArchive(t *testing.T, name string, files map[string][]byte) {
	t.Helper()
	for _, part := range []string{
		"LICENSE", "README.md", "CHANGELOG.md", "man/man1/coordinator.1", "man/man1/coordinator-run.1",
		"completions/coordinator.bash", "completions/_coordinator", "completions/coordinator.fish", "completions/coordinator.ps1",
		"deploy/systemd/coordinator.service",
	} {
		if len(files[name+"/"+part]) == 0 {
			t.Errorf("%s has no %s", name, part)
		}
	}
	binary := filepath.Join(t.TempDir(), "coordinator")
	if err := os.WriteFile(binary, files[name+"/coordinator"], 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "version").Output()
	version := strings.Split(name, "_")[1]
	if err != nil || !strings.HasPrefix(string(out), "coordinator "+version+" ") || !strings.HasPrefix(version, "v") {
		t.Errorf("coordinator version says %q %v, its archive %s", out, err, version)
	}
}

// checkSBOM checks that an SBOM can be read and names what matters.
func checkSBOM(t *testing.T, text []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, c := range *bom.Components {
		if c.Version == "" || !strings.HasPrefix(c.PackageURL, "pkg:golang/") {
			t.Errorf("%s has version %q and URL %q", c.Name, c.Version, c.PackageURL)
		}
		found[c.Name] = true
	}
	for _, name := range []string{"std", "go.etcd.io/etcd/server/v3", "go.uber.org/zap"} {
		if !found[name] {
			t.Errorf("the SBOM does not name %s", name)
		}
	}
	if found["pgregory.net/rapid"] {
		t.Error("the SBOM names what only tests use")
	}
}

// Nobody could build a release again that does not come from a commit.
func TestRelease_RefusesWhatIsNotCommitted(t *testing.T) {
	source := committed(t)
	if err := os.WriteFile(filepath.Join(source, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), source, filepath.Join(t.TempDir(), "dist"), []string{"linux/amd64"}, false)
	if err == nil || !strings.Contains(err.Error(), "commit first") {
		t.Errorf("error %v, want that the tree differs from its commit", err)
	}
}
