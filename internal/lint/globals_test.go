package lint

import (
	"go/ast"
	"go/token"
)

// changedGlobals finds package variables that a function of the package changes: by
// assignment, whole or in part, or by delete, clear or copy. It has no type information,
// so it does not see changes by methods, and a local variable hides a package variable
// of the same name in the whole function.
func changedGlobals(files []*source) []string {
	globals := make(map[string]map[string]bool) // by package
	for _, s := range goFiles(files) {
		names := globals[s.pkg()]
		if names == nil {
			names = make(map[string]bool)
			globals[s.pkg()] = names
		}
		for _, decl := range s.file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				declared(d, names)
			}
		}
	}
	var findings []string
	for _, s := range goFiles(files) {
		if s.test() {
			continue
		}
		for _, decl := range s.file.Decls {
			local := make(map[string]bool)
			if f, ok := decl.(*ast.FuncDecl); ok {
				declared(f, local)
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				for _, x := range changed(n) {
					if name := root(x); globals[s.pkg()][name] && !local[name] {
						findings = append(findings, s.report(x, "%s belongs to the package and is changed", name))
					}
				}
				return true
			})
		}
	}
	return findings
}

// pkg identifies a package; an external test is a package of its own.
func (s *source) pkg() string { return s.dir() + " " + s.file.Name.Name }

// declared adds the names of variables that are declared in n.
func declared(n ast.Node, names map[string]bool) {
	add := func(x ast.Expr) {
		if id, ok := x.(*ast.Ident); ok && id.Name != "_" {
			names[id.Name] = true
		}
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for _, id := range n.Names {
				add(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				add(id)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, x := range n.Lhs {
					add(x)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key)
				add(n.Value)
			}
		}
		return true
	})
}

// changed returns the expressions that n changes.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 {
			switch f.Name {
			case "delete", "clear", "copy":
				return n.Args[:1]
			}
		}
	}
	return nil
}

// root returns the name of the variable of which x is a part.
func root(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.IndexExpr:
		return root(x.X)
	case *ast.SelectorExpr:
		return root(x.X)
	case *ast.StarExpr:
		return root(x.X)
	case *ast.ParenExpr:
		return root(x.X)
	case *ast.SliceExpr:
		return root(x.X)
	}
	return ""
}
