package lint

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the exported names anew")

// programFaces are the packages for authors of programs, otherFaces those for authors of
// stores and tests, and for programs that serve the API of a node. A package that does not
// exist is left out.
var (
	programFaces = []string{"modes", "rebind", "coordinator", "etcdstore"}
	otherFaces   = []string{"coordinator/driver", "coordinator/coordtest", "coordinator/coordhttp", "etcdstore/etcdauth"}
)

// maxProgramNames bounds the top-level names of programFaces together, each constant and
// error counted: they are what an author of a program has to know of. Only lower it.
const maxProgramNames = 70

// TestAPI_IsSmall counts what authors of programs have to know of.
func TestAPI_IsSmall(t *testing.T) {
	files, sum := readTree(t, moduleRoot(t)), 0
	for _, dir := range programFaces {
		n := topLevel(exported(files, dir))
		t.Logf("%s: %d", dir, n)
		sum += n
	}
	if sum > maxProgramNames {
		t.Errorf("%d top-level names in %v, want at most %d", sum, programFaces, maxProgramNames)
	}
}

// TestAPI_ChangesOnPurpose compares the exported names of the library, with their types,
// with testdata/api.txt. A change of that file is a change of what programs compile
// against: review it as one, and add a line to the CHANGELOG.
func TestAPI_ChangesOnPurpose(t *testing.T) {
	files := readTree(t, moduleRoot(t))
	var text strings.Builder
	for _, dir := range slices.Concat(programFaces, otherFaces) {
		names := exported(files, dir)
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&text, "# %s: %d top-level names, %d with methods\n\n", dir, topLevel(names), len(names))
		for _, n := range names {
			fmt.Fprintf(&text, "%s\n", n.text)
		}
		text.WriteString("\n")
	}
	path := filepath.Join("testdata", "api.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, now := lines(string(want)), lines(text.String())
	for _, l := range now {
		if !slices.Contains(before, l) {
			t.Errorf("new: %s", l)
		}
	}
	for _, l := range before {
		if !slices.Contains(now, l) {
			t.Errorf("gone: %s", l)
		}
	}
	if t.Failed() {
		t.Log("if that is meant: go test ./internal/lint -run API -update, and a line in CHANGELOG.md")
	}
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

// name is one exported name with its declaration, without comments and bodies.
type name struct {
	of, name, text string
}

func topLevel(names []name) (n int) {
	for i := range names {
		if names[i].of == "" {
			n++
		}
	}
	return n
}

// exported lists the names that a package exports, sorted, with methods after their
// type.
func exported(files []*source, dir string) []name {
	var names []name
	for _, s := range goFiles(files) {
		if s.dir() != dir || s.test() {
			continue
		}
		for _, decl := range s.file.Decls {
			names = append(names, exportedBy(decl)...)
		}
	}
	slices.SortFunc(names, func(a, b name) int {
		return cmp.Or(strings.Compare(cmp.Or(a.of, a.name), cmp.Or(b.of, b.name)), strings.Compare(a.of, b.of), strings.Compare(a.name, b.name))
	})
	return names
}

func exportedBy(decl ast.Decl) (names []name) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		of := receiver(d)
		if d.Name.IsExported() && (of == "" || ast.IsExported(of)) {
			bare := *d
			bare.Body, bare.Doc = nil, nil
			names = append(names, name{of, d.Name.Name, inOneLine(&bare)})
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					names = append(names, name{"", spec.Name.Name, "type " + inOneLine(withoutPrivate(spec))})
				}
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					if n.IsExported() {
						names = append(names, name{"", n.Name, d.Tok.String() + " " + n.Name + typeOf(spec)})
					}
				}
			}
		}
	}
	return names
}

func typeOf(spec *ast.ValueSpec) string {
	if spec.Type == nil {
		return ""
	}
	return " " + inOneLine(spec.Type)
}

// receiver returns the name of a method's type, or "".
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	return typ.(*ast.Ident).Name
}

// withoutPrivate is a type as others see it.
func withoutPrivate(spec *ast.TypeSpec) *ast.TypeSpec {
	bare := *spec
	bare.Doc, bare.Comment = nil, nil
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		bare.Type = &ast.StructType{Fields: public(typ.Fields)}
	case *ast.InterfaceType:
		bare.Type = &ast.InterfaceType{Methods: public(typ.Methods)}
	}
	return &bare
}

func public(fields *ast.FieldList) *ast.FieldList {
	shown := &ast.FieldList{}
	for _, f := range fields.List {
		bare := &ast.Field{Type: f.Type}
		for _, n := range f.Names {
			if n.IsExported() {
				bare.Names = append(bare.Names, n)
			}
		}
		if len(f.Names) == 0 || len(bare.Names) > 0 {
			shown.List = append(shown.List, bare)
		}
	}
	return shown
}

// inOneLine prints a node with its white space folded.
func inOneLine(node ast.Node) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), node); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
