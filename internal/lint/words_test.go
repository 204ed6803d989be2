package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// twins finds two methods of one type, or two of its fields, whose names differ by
// case alone: Forget and forget, of which a reader has to learn that they do
// different things. A field and the method that returns it may share a name.
func twins(files []*source) []string {
	seen := make(map[string]string) // the spelling first found, by what may have only one
	var findings []string
	check := func(s *source, what, typ string, id *ast.Ident) {
		key := strings.Join([]string{s.pkg(), what, typ, strings.ToLower(id.Name)}, " ")
		first, ok := seen[key]
		if !ok {
			seen[key] = id.Name
		} else if first != id.Name && id.Name != "_" {
			pair := []string{typ + "." + first, typ + "." + id.Name}
			slices.Sort(pair)
			findings = append(findings, s.report(id, "%s and %s differ by case alone", pair[0], pair[1]))
		}
	}
	for _, s := range goFiles(files) {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if of := receiver(n); of != "" {
					check(s, "method", of, n.Name)
				}
			case *ast.TypeSpec:
				for _, id := range members(n.Type) {
					check(s, "field", n.Name.Name, id)
				}
			}
			return true
		})
	}
	return findings
}

// members returns the names of a struct's fields, or of an interface's methods.
func members(typ ast.Expr) (names []*ast.Ident) {
	var fields *ast.FieldList
	switch typ := typ.(type) {
	case *ast.StructType:
		fields = typ.Fields
	case *ast.InterfaceType:
		fields = typ.Methods
	default:
		return nil
	}
	for _, f := range fields.List {
		names = append(names, f.Names...)
	}
	return names
}

// homonyms lists the names, in lower case, that types of several packages may
// have, and why no reader takes one for the other.
var homonyms = map[string]string{
	"config":        "the settings of the package that declares it",
	"candidacy":     "an interface, and those that implement it",
	"node":          "httpapi's is what it needs of the node, and telemetry's counts what is done with it",
	"plane":         "coordtest's is a whole one under test, the driver's is the picture of one",
	"presence":      "the interface, those that implement it, and what a node keeps of its own",
	"role":          "etcdauth's is etcd's word, for what a node may do with etcd; credentials' is what a caller of the API may do",
	"server":        "each serves what its package is called after",
	"store":         "an interface, and those that implement it",
	"term":          "an interface, and those that implement it",
	"exclusiveterm": "an interface, and those that implement it",
	"watcher":       "an interface, and those that implement it",
	"writer":        "the driver's is an interface; the others write what their package is called after",
}

// apart lists directories whose types may be called as others are: a reader of the
// product meets none of them.
var apart = allow{
	"internal/httpapi/wire/": "a type is the JSON form of the type that it is called after",
	"test/":                  "the laboratory has its own picture of a plane, made from outside",
	"bench/":                 "nobody imports it",
	"examples/":              "a program of its own, which nobody imports",
	"tools/":                 "nobody imports it",
}

// typeName is one declaration of a type.
type typeName struct {
	s  *source
	id *ast.Ident
}

// sharedTypeNames finds a type name with two meanings: two types that are called
// alike, upper and lower case taken as one, and that a reader can meet together,
// because both are exported or because the package of one imports that of the other.
func sharedTypeNames(files []*source) []string {
	names := make(map[string][]typeName)
	imports := make(map[string]bool) // "importer imported"
	for _, s := range goFiles(files) {
		if _, ok := apart.covers(s); ok || s.test() {
			continue
		}
		for _, spec := range s.file.Imports {
			if ours, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/"); ok {
				imports[s.dir()+" "+ours] = true
			}
		}
		for _, id := range typesOf(s.file) {
			name := strings.ToLower(id.Name)
			names[name] = append(names[name], typeName{s, id})
		}
	}
	var findings []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		clashes := clashing(names[name], imports)
		reason, allowed := homonyms[name]
		switch {
		case !allowed:
			if len(clashes) > 0 {
				findings = append(findings, fmt.Sprintf("%s: type %s: two packages have a type of that name", strings.Join(clashes, ","), name))
			}
		case len(clashes) == 0 && len(names[name]) == 1:
			findings = append(findings, fmt.Sprintf("type %s: allowed without need: %s", name, reason))
		}
	}
	return findings
}

// typesOf returns the names of a file's types.
func typesOf(file *ast.File) (names []*ast.Ident) {
	for _, decl := range file.Decls {
		if d, ok := decl.(*ast.GenDecl); ok {
			for _, spec := range d.Specs {
				if typ, ok := spec.(*ast.TypeSpec); ok {
					names = append(names, typ.Name)
				}
			}
		}
	}
	return names
}

// clashing returns where those of types are that another of them can be taken for.
func clashing(types []typeName, imports map[string]bool) (places []string) {
	for _, one := range types {
		if slices.ContainsFunc(types, func(other typeName) bool {
			a, b := one.s.dir(), other.s.dir()
			exported := one.id.IsExported() && other.id.IsExported()
			return a != b && (exported || imports[a+" "+b] || imports[b+" "+a])
		}) {
			places = append(places, fmt.Sprintf("%s:%d", one.s.path, one.s.line(one.id.Pos())))
		}
	}
	return places
}

// dialect lists words that this project once had for what has another name in the
// field, or another name here (docs/GLOSSARY.md), with the word to say instead. Two
// words stand for two parts of an identifier that follow each other.
var dialect = map[string]string{
	"abdicate":   "resign",
	"befits":     "suits",
	"bequeath":   "transfer",
	"bid":        "candidate",
	"buried":     "departed",
	"bury":       "record a departure",
	"contest":    "candidacy, or conflict",
	"crowd":      "limiter",
	"dethrone":   "demote",
	"draw level": "sync",
	"exile":      "leave the plane",
	"gift":       "awarded",
	"glance":     "poll",
	"glanced":    "merge",
	"glimpse":    "cached plane",
	"heir":       "successor",
	"hush":       "suppress",
	"hushed":     "suppressed",
	"lead on":    "keep the term",
	"membership": "presence",
	"obituary":   "departure",
	"outlived":   "of an earlier incarnation",
	"outlook":    "plane cache",
	"patience":   "stall limit",
	"patient":    "with a deadline",
	"rehearsal":  "check",
	"rehearse":   "check",
	"reign":      "term, or leadership",
	"reigns":     "terms",
	"retire":     "resign",
	"scout":      "prober",
	"seclude":    "take the plane exclusively",
	"secluded":   "exclusive",
	"seclusion":  "exclusive",
	"sight":      "scope",
	"sights":     "scopes",
	"solo":       "exclusive",
	"stake":      "condition",
	"unborn":     "aborted",
	"vacated":    "ended",
	"vouch":      "heartbeat",
	"vouched":    "heartbeat",
	"vouches":    "heartbeat",
	"widen":      "follow all",
}

// plainWords are those of dialect that a sentence may need.
var plainWords = []string{
	"bid", "contest", "crowd", "draw level", "gift", "lead on", "outlived", "patient", "retire", "seclusion", "sight",
	"sights", "stake", "vacated",
}

// dialectNames finds words of the old dialect among the parts of declared names.
func dialectNames(files []*source) []string {
	words := slices.Sorted(maps.Keys(dialect))
	var findings []string
	for _, s := range goFiles(files) {
		for _, id := range declaredNames(s.file) {
			parts := " " + strings.Join(camelParts(id.Name), " ") + " "
			for _, word := range words {
				if strings.Contains(parts, " "+word+" ") {
					findings = append(findings, s.report(id, "name %s: instead of %q say %s", id.Name, word, dialect[word]))
				}
			}
		}
	}
	return findings
}

// dialectComments finds words of the old dialect in comments and in documents.
func dialectComments(files []*source) []string {
	var words []string
	for word := range dialect {
		if !slices.Contains(plainWords, word) {
			words = append(words, word)
		}
	}
	find := regexp.MustCompile(`(?i)\b(` + strings.Join(words, "|") + `)\b`)
	var findings []string
	in := func(s *source, text string, line int) {
		for i, l := range strings.Split(text, "\n") {
			for _, word := range find.FindAllString(l, -1) {
				word = strings.ToLower(word)
				findings = append(findings, fmt.Sprintf("%s:%d: comment: instead of %q say %s", s.path, line+i, word, dialect[word]))
			}
		}
	}
	for _, s := range files {
		switch {
		case s.file != nil:
			for _, group := range s.file.Comments {
				for _, c := range group.List {
					in(s, c.Text, s.line(c.Pos()))
				}
			}
		case s.path != "CHANGELOG.md": // which tells what was, in the words of its time
			in(s, s.text, 1)
		}
	}
	return findings
}

// declaredNames returns the names that a file declares, wherever they hold.
func declaredNames(file *ast.File) (names []*ast.Ident) {
	defined := func(exprs ...ast.Expr) {
		for _, x := range exprs {
			if id, ok := x.(*ast.Ident); ok {
				names = append(names, id)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names = append(names, n.Name)
		case *ast.TypeSpec:
			names = append(names, n.Name)
		case *ast.Field:
			names = append(names, n.Names...)
		case *ast.ValueSpec:
			names = append(names, n.Names...)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				defined(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				defined(n.Key, n.Value)
			}
		}
		return true
	})
	return names
}

// camelParts splits an identifier into its words, in lower case.
func camelParts(name string) (parts []string) {
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if start < end {
			parts = append(parts, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case r == '_':
			cut(i)
			start = i + 1
		case i == start || !unicode.IsUpper(r):
		case !unicode.IsUpper(runes[i-1]), i+1 < len(runes) && unicode.IsLower(runes[i+1]):
			cut(i)
		}
	}
	cut(len(runes))
	return parts
}
