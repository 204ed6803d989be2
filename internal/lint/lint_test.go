package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "github.com/coordinator-ha/coordinator"

// rule is one requirement on every source.
type rule struct {
	name string
	find func([]*source) []string
}

// rules lists everything that can be checked with the sources alone.
func rules() []rule {
	return []rule{
		{"packages import only those to their left", importDirection},
		{"every package has a comment", packageComments},
		{"every exported name has a comment", docComments},
		{"files and functions are short", sizes},
		{"nothing sleeps", sleeps},
		{"sentinel errors are not compared", sentinelComparisons},
		{"goroutines start in known places", goStatements},
		{"nothing runs by being imported", inits},
		{"only main ends the process", exits},
		{"panics are in known places", panics},
		{"package variables are not changed", changedGlobals},
		{"only keys.go spells keys", keyParts},
		{"only telemetry knows Prometheus and OpenTelemetry", metricsImports},
		{"nothing is left to do", markers},
		{"no two names of a type differ by case alone", twins},
		{"a type name has one meaning", sharedTypeNames},
		{"a type's methods stand together", scattered},
		{"names are in the glossary's words", dialectNames},
		{"comments are in the glossary's words", dialectComments},
		{"documents name files that are there", missingFiles},
	}
}

// TestTree applies the rules to the module.
func TestTree(t *testing.T) {
	files := readTree(t, moduleRoot(t))
	if len(files) < 50 {
		t.Fatalf("read %d files, that is not the module", len(files))
	}
	pending := readPending(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, found := range r.find(files) {
				if !pending.covers(found) {
					t.Error(found)
				}
			}
		})
	}
}

// TestClosure checks that a program that uses the library does not compile more than
// it needs, and neither does one that also serves the API of its node.
func TestClosure(t *testing.T) {
	root := moduleRoot(t)
	serving := []string{"coordinator/coordhttp", "examples/hello"}
	for _, pkg := range append(serving, "modes", "rebind", "coordinator", "coordinator/driver", "etcdstore") {
		unwanted := unwanted
		if slices.Contains(serving, pkg) {
			unwanted = unwantedToServe
		}
		t.Run(pkg, func(t *testing.T) {
			list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+pkg)
			list.Dir = root
			list.Stderr = os.Stderr
			out, err := list.Output()
			if err != nil {
				t.Fatalf("list the imports of %s: %v", pkg, err)
			}
			deps := strings.Fields(string(out))
			if !slices.Contains(deps, module+"/"+pkg) {
				t.Fatalf("the imports of %s are %v, want the package itself among them", pkg, deps)
			}
			for _, found := range importClosure(pkg, unwanted, deps) {
				t.Error(found)
			}
		})
	}
}

// source is one file of the module.
type source struct {
	path string // relative to the module's root, with slashes
	text string
	fset *token.FileSet
	file *ast.File // nil for a file that is not Go
}

// newSource parses a file if it is Go.
func newSource(name, text string) (*source, error) {
	s := &source{path: name, text: text, fset: token.NewFileSet()}
	if !strings.HasSuffix(name, ".go") {
		return s, nil
	}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

func (s *source) dir() string { return path.Dir(s.path) }

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// line returns the number of the line at pos.
func (s *source) line(pos token.Pos) int { return s.fset.Position(pos).Line }

// report returns a finding with its place.
func (s *source) report(at ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.line(at.Pos()), fmt.Sprintf(format, args...))
}

// goFiles returns the files that are Go.
func goFiles(files []*source) []*source {
	return slices.DeleteFunc(slices.Clone(files), func(s *source) bool { return s.file == nil })
}

// moduleRoot finds the directory of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			if !strings.HasPrefix(string(mod), "module "+module+"\n") {
				t.Fatalf("%s/go.mod is of another module than %s", dir, module)
			}
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = up
	}
}

// readTree reads all Go and Markdown files below root.
func readTree(t *testing.T, root string) []*source {
	t.Helper()
	var files []*source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || base == "bin" || base == "dist" || base == "coordinator-data") {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(base); ext != ".go" && ext != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		s, err := newSource(filepath.ToSlash(rel), string(text))
		files = append(files, s)
		return err
	})
	if err != nil {
		t.Fatalf("read the module: %v", err)
	}
	return files
}
