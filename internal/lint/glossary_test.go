package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// glossaryRow is a row of a table, of which only the last cell is about this code.
	glossaryRow = regexp.MustCompile(`(?m)^\|.*\| ([^|]*) \|$`)
	codeSpan    = regexp.MustCompile("`([^`]+)`")
	goName      = regexp.MustCompile(`^(\w+)\.([A-Z]\w*)(\(\))?$`)
	goFile      = regexp.MustCompile(`^[\w/]+\.go$`)
)

// missingNames finds Go names in the last columns of a document's tables that are not
// in the sources: a package's name, or a type's field or method.
func missingNames(doc, page string, files []*source) []string {
	known := knownNames(files)
	var findings []string
	for _, row := range glossaryRow.FindAllStringSubmatch(page, -1) {
		for _, span := range codeSpan.FindAllStringSubmatch(row[1], -1) {
			if m := goName.FindStringSubmatch(span[1]); m != nil && !known[m[1]+"."+m[2]] {
				findings = append(findings, fmt.Sprintf("%s names %s, which is not there", doc, span[1]))
			}
		}
	}
	return findings
}

// missingFiles finds Go files that documents name and that are not there. A name
// may leave out the directories that come first.
func missingFiles(files []*source) []string {
	var findings []string
	for _, s := range files {
		if s.file != nil || s.path == "CHANGELOG.md" {
			continue
		}
		for i, line := range strings.Split(s.text, "\n") {
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				if goFile.MatchString(span[1]) && !slices.ContainsFunc(files, func(f *source) bool {
					return strings.HasSuffix("/"+f.path, "/"+span[1])
				}) {
					findings = append(findings, fmt.Sprintf("%s:%d: names the file %s, which is not there", s.path, i+1, span[1]))
				}
			}
		}
	}
	return findings
}

// knownNames returns what is exported, as "package.Name" and as "Type.Member".
func knownNames(files []*source) map[string]bool {
	known := make(map[string]bool)
	for _, s := range goFiles(files) {
		if s.test() {
			continue
		}
		for _, decl := range s.file.Decls {
			for _, n := range exportedBy(decl) {
				if n.of == "" {
					known[s.file.Name.Name+"."+n.name] = true
				} else {
					known[n.of+"."+n.name] = true
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if typ, ok := n.(*ast.TypeSpec); ok {
				for _, id := range members(typ.Type) {
					known[typ.Name.Name+"."+id.Name] = true
				}
			}
			return true
		})
	}
	return known
}

// The glossary and the page about migrating name only what is in the code.
func TestGlossary_NamesAreThere(t *testing.T) {
	root := moduleRoot(t)
	files := readTree(t, root)
	for _, doc := range []string{"docs/GLOSSARY.md", "docs/MIGRATING.md"} {
		page, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		if rows := glossaryRow.FindAllString(string(page), -1); len(rows) < 40 {
			t.Fatalf("found %d rows in %s, that is not all", len(rows), doc)
		}
		for _, found := range missingNames(doc, string(page), files) {
			t.Error(found)
		}
	}
}

func TestMissingNames(t *testing.T) {
	s, err := newSource("a/x.go", "package a\n// T is.\ntype T struct{ F int }\n// M does.\nfunc (T) M() {}\n")
	if err != nil {
		t.Fatal(err)
	}
	row := func(cell string) string { return "| `a.Elsewhere` | means | " + cell + " |\n" }
	for _, c := range []struct{ cell, want string }{
		{"`a.T`, `T.F`, `T.M()`; `key/{id}`", ""},
		{"`a.U`", "names a.U"},
		{"`T.G`", "names T.G"},
	} {
		got := strings.Join(missingNames("x.md", row(c.cell), []*source{s}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.cell, got, c.want)
		}
	}
}
