package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// This file measures the inner shape of packages: how many methods a type has, in how
// many files they stand, and how many files of a package use each other's names.

// maxMethodFiles is in how many files the methods of one type may stand. Cohesion counts
// for more than short files: a reader of a type opens two at most.
const maxMethodFiles = 2

// shape is what is measured of one package. Test files do not count.
type shape struct {
	files   []*source
	methods map[string]map[string]int // by type: how many in each file
}

// shapes measures each package of the tree, by directory.
func shapes(files []*source) map[string]*shape {
	found := make(map[string]*shape)
	for _, s := range goFiles(files) {
		if s.test() {
			continue
		}
		p := found[s.dir()]
		if p == nil {
			p = &shape{methods: make(map[string]map[string]int)}
			found[s.dir()] = p
		}
		p.files = append(p.files, s)
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			of := receiver(f)
			if p.methods[of] == nil {
				p.methods[of] = make(map[string]int)
			}
			p.methods[of][path.Base(s.path)]++
		}
	}
	return found
}

// cohesive are the packages whose types keep their methods together. Servers and commands
// have a file for each path and verb instead.
func cohesive() []string {
	return []string{"modes", "rebind", "coordinator", "etcdstore", "internal/policy", "internal/replica"}
}

// scattered finds types whose methods stand in too many files.
func scattered(files []*source) []string {
	var findings []string
	for dir, p := range shapes(files) {
		if !slices.ContainsFunc(cohesive(), func(root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }) {
			continue
		}
		for of, in := range p.methods {
			if len(in) > maxMethodFiles {
				findings = append(findings, fmt.Sprintf("%s: %s.%s: its methods stand in %d files, they may in %d",
					dir, path.Base(dir), of, len(in), maxMethodFiles))
			}
		}
	}
	slices.Sort(findings)
	return findings
}

// ties counts the pairs of files of a package of which one uses a name that the other
// alone declares: a function, type, variable, constant, method or field.
func (p *shape) ties() (tied, pairs int) {
	declared := make(map[string]map[int]bool) // by name, the files
	for i, s := range p.files {
		for _, name := range declaredIn(s) {
			if declared[name] == nil {
				declared[name] = make(map[int]bool)
			}
			declared[name][i] = true
		}
	}
	found := make(map[[2]int]bool)
	for i, s := range p.files {
		ast.Inspect(s.file, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || len(declared[id.Name]) != 1 {
				return true
			}
			for j := range declared[id.Name] {
				if i != j {
					found[[2]int{min(i, j), max(i, j)}] = true
				}
			}
			return true
		})
	}
	return len(found), len(p.files) * (len(p.files) - 1) / 2
}

// declaredIn lists the names that a file declares at the top, with methods and fields.
func declaredIn(s *source) []string {
	var names []string
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.TypeSpec:
					names = append(names, n.Name.Name)
				case *ast.ValueSpec:
					for _, id := range n.Names {
						names = append(names, id.Name)
					}
				case *ast.StructType:
					for _, field := range n.Fields.List {
						for _, id := range field.Names {
							names = append(names, id.Name)
						}
					}
				case *ast.FuncLit:
					return false
				}
				return true
			})
		}
	}
	return names
}

// TestShape_Figures prints the figures: go test ./internal/lint -run Shape -v.
func TestShape_Figures(t *testing.T) {
	all := shapes(readTree(t, moduleRoot(t)))
	for _, dir := range []string{"coordinator", "etcdstore", "rebind", "internal/replica", "coordinator/driver"} {
		p := all[dir]
		if p == nil {
			t.Errorf("no package %s", dir)
			continue
		}
		tied, pairs := p.ties()
		t.Logf("%s: %d files, %d of %d pairs tied (%d %%)", dir, len(p.files), tied, pairs, 100*tied/max(pairs, 1))
		types := slices.SortedFunc(maps.Keys(p.methods), func(a, b string) int {
			return 10*(sum(p.methods[b])-sum(p.methods[a])) + strings.Compare(a, b)
		})
		for _, of := range types[:min(5, len(types))] {
			t.Logf("  %s: %d methods in %d files", of, sum(p.methods[of]), len(p.methods[of]))
		}
	}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func shapeBreaches() []breach {
	methods := func(n int) string {
		text := "package modes\ntype T struct{}\n"
		for i := range n {
			if i > 0 {
				text += fmt.Sprintf("-- modes/%c.go --\npackage modes\n", 'b'+i)
			}
			text += fmt.Sprintf("func (t *T) M%d() {}\n", i)
		}
		return text
	}
	return []breach{
		{"methods in two files", "modes/a.go", methods(2), ""},
		{"methods in three files", "modes/a.go", methods(3), "its methods stand in 3 files"},
	}
}
