package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// packageComments requires a comment above one package clause of each package, which
// begins as godoc expects.
func packageComments(files []*source) []string {
	documented := make(map[string]bool)
	var dirs []string
	for _, s := range goFiles(files) {
		if !slices.Contains(dirs, s.dir()) {
			dirs = append(dirs, s.dir())
		}
		name := s.file.Name.Name
		text := s.file.Doc.Text()
		if name == "main" && text != "" || strings.HasPrefix(text, "Package "+strings.TrimSuffix(name, "_test")+" ") {
			documented[s.dir()] = true
		}
	}
	var findings []string
	for _, dir := range dirs {
		if !documented[dir] {
			findings = append(findings, dir+`: no package comment that begins with "Package `+path.Base(dir)+`"`)
		}
	}
	return findings
}

// docComments requires a comment on each exported name outside tests. The comment of
// a type, function or method begins with its name; constants and variables may share
// the comment of their group.
func docComments(files []*source) []string {
	var findings []string
	for _, s := range goFiles(files) {
		if s.test() {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				findings = append(findings, s.wantComment(d.Name, d.Doc)...)
			case *ast.GenDecl:
				findings = append(findings, s.groupComments(d)...)
			}
		}
	}
	return findings
}

func (s *source) groupComments(d *ast.GenDecl) (findings []string) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if !d.Lparen.IsValid() {
				doc = d.Doc
			}
			findings = append(findings, s.wantComment(spec.Name, doc)...)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && spec.Doc.Text() == "" && d.Doc.Text() == "" {
					findings = append(findings, s.report(name, "%s has no comment, nor has its group", name.Name))
				}
			}
		}
	}
	return findings
}

// wantComment requires doc to begin with name, with or without an article.
func (s *source) wantComment(name *ast.Ident, doc *ast.CommentGroup) []string {
	if !name.IsExported() {
		return nil
	}
	for _, article := range []string{"", "A ", "An ", "The "} {
		rest, ok := strings.CutPrefix(doc.Text(), article+name.Name)
		if ok && (rest == "" || !token.IsIdentifier("a"+rest[:1])) {
			return nil
		}
	}
	return []string{s.report(name, "%s has no comment that begins with its name", name.Name)}
}

// How long things may be, in lines.
const (
	maxFile = 600
	maxTest = 600
	maxFunc = 70
)

// sizes limits the length of files and functions.
func sizes(files []*source) []string {
	var findings []string
	for _, s := range goFiles(files) {
		limit := maxFile
		if s.test() {
			limit = maxTest
		}
		if lines := strings.Count(s.text, "\n"); lines > limit {
			findings = append(findings, fmt.Sprintf("%s: %d lines, a file may have %d", s.path, lines, limit))
		}
		for _, decl := range s.file.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.FuncDecl, *ast.FuncLit:
					lines := s.line(n.End()) - s.line(n.Pos()) + 1
					if lines > maxFunc {
						findings = append(findings, s.report(n, "function of %d lines, it may have %d", lines, maxFunc))
					}
					return false // a function within is not longer
				}
				return true
			})
		}
	}
	return findings
}

// allow lists the exceptions to a rule, with their reasons: by file, or by directory
// if the name ends with a slash.
type allow map[string]string

// confined reports what pick finds outside the files where it is allowed, and
// exceptions that are no longer needed.
func confined(files []*source, where allow, what string, pick func(*source, ast.Node) bool) []string {
	var findings []string
	used := make(map[string]bool)
	for _, s := range goFiles(files) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if n == nil || !pick(s, n) {
				return true
			}
			if place, ok := where.covers(s); ok {
				used[place] = true
			} else {
				findings = append(findings, s.report(n, "%s", what))
			}
			return true
		})
	}
	for place := range where {
		exists := slices.ContainsFunc(files, func(s *source) bool { return s.path == place })
		if exists && !used[place] {
			findings = append(findings, fmt.Sprintf("%s: allowed without need: %s", place, what))
		}
	}
	slices.Sort(findings)
	return findings
}

func (a allow) covers(s *source) (string, bool) {
	for place := range a {
		if s.path == place || strings.HasSuffix(place, "/") && strings.HasPrefix(s.path, place) {
			return place, true
		}
	}
	return "", false
}

// sleeps finds time.Sleep: waiting is a timer or a ticker in a select.
func sleeps(files []*source) []string {
	return confined(files, nil, "time.Sleep: wait for what is awaited", func(s *source, n ast.Node) bool {
		return s.selects(n, "time", "Sleep")
	})
}

// selects reports whether n is pkg.name, under any name of the import.
func (s *source) selects(n ast.Node, pkg, name string) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == s.localName(pkg)
}

func (s *source) localName(pkg string) string {
	for _, spec := range s.file.Imports {
		if spec.Path.Value == strconv.Quote(pkg) && spec.Name != nil {
			return spec.Name.Name
		}
	}
	return path.Base(pkg)
}

// mayCompare lists the files where a sentinel error may be compared by identity.
var mayCompare = allow{
	"coordinator/driver/errors.go":       "an Is method compares its target, and nothing else may",
	"coordinator/driver/errors_state.go": "an Is method compares its target, and nothing else may",
	"internal/replica/unusable.go":       "an Is method compares its target, and nothing else may",
}

var sentinel = regexp.MustCompile(`^Err[A-Z]`)

// sentinelComparisons finds errors that are compared with ==, != or a switch instead
// of errors.Is.
func sentinelComparisons(files []*source) []string {
	return confined(files, mayCompare, "sentinel error compared: use errors.Is", func(_ *source, n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			return (n.Op == token.EQL || n.Op == token.NEQ) && (isSentinel(n.X) || isSentinel(n.Y))
		case *ast.SwitchStmt:
			return n.Tag != nil && slices.ContainsFunc(n.Body.List, func(clause ast.Stmt) bool {
				return slices.ContainsFunc(clause.(*ast.CaseClause).List, isSentinel)
			})
		}
		return false
	})
}

func isSentinel(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return sentinel.MatchString(x.Name)
	case *ast.SelectorExpr:
		return sentinel.MatchString(x.Sel.Name)
	case *ast.ParenExpr:
		return isSentinel(x.X)
	}
	return false
}

// mayStart lists the files that may contain a go statement, and what waits for the
// goroutine. A call of Go on a WaitGroup or an errgroup is no go statement and needs
// no entry.
var mayStart = allow{
	"coordinator/loop.go":                          "an observer that hangs is left behind after a time; Run waits until then",
	"coordinator/program.go":                       "a program that does not heed its context is left behind; the loop waits for returned",
	"cmd/coordinator/datadir.go":                   "a call that hangs in the kernel is left behind after a time",
	"coordinator/failover_test.go":                 "a write outlives the term of its node; the test receives its outcome",
	"coordinator/handover_fault_test.go":           "a write goes on beside a handover; the test receives its outcome",
	"etcdstore/doubt_test.go":                      "a campaign runs until the test receives its end",
	"etcdstore/fence_test.go":                      "a campaign runs until the test receives its end",
	"etcdstore/embedded/embedded.go":               "watches etcd until Close, which waits for it",
	"coordinator/coordtest/memstore/presence.go":   "renews a lease until the presence or the server ends",
	"coordinator/coordtest/memstore/term.go":       "watches a term until it or the server ends",
	"coordinator/coordtest/storetest/storetest.go": "a campaign runs until its cleanup, which waits for it",
	"coordinator/coordtest/storetest/deltas.go":    "waits for a batch that the test then receives",
	"coordinator/coordtest/storetest/follow.go":    "follows a plane until its cleanup, which waits for it",
	"bench/lab_test.go":                            "a node runs until its cleanup, which waits for it",
	"bench/mastership_test.go":                     "a campaign runs until the benchmark receives its end",
	"bench/process_test.go":                        "watches a key until that is gone, which the benchmark receives",
	"bench/state_test.go":                          "a mirror runs until stop, which waits for it",
	"test/integration/cluster_test.go":             "reads what a process says until it has ended; done is closed then",
	"test/integration/inprocess_test.go":           "a node runs until stop, which waits for it",
}

// goStatements finds goroutines that nothing is known to wait for.
func goStatements(files []*source) []string {
	return confined(files, mayStart, "go statement: use a WaitGroup, or say in mayStart who waits", func(_ *source, n ast.Node) bool {
		_, ok := n.(*ast.GoStmt)
		return ok
	})
}

// inits finds functions that run because a package is imported.
func inits(files []*source) []string {
	return confined(files, nil, "init function: let the caller call", func(_ *source, n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		return ok && f.Recv == nil && f.Name.Name == "init"
	})
}

// mayExit lists the files that may end the process.
var mayExit = allow{
	"cmd/coordinator/main.go":    "the exit code of the command",
	"cmd/coordinator/signals.go": "the second signal ends at once",
	"test/":                      "helper processes have exit codes too",
	"bench/table/main.go":        "the exit code of the command",
	"tools/release/main.go":      "the exit code of the command",
}

// exits finds os.Exit in functions whose callers may have to clean up.
func exits(files []*source) []string {
	return confined(files, mayExit, "os.Exit: return an error", func(s *source, n ast.Node) bool {
		return s.selects(n, "os", "Exit")
	})
}

// mayPanic lists the files that may panic, and why an error would not do.
var mayPanic = allow{
	"coordinator/loop.go":           "a step against the rule book is a defect of the loop",
	"coordinator/program_test.go":   "the program under test panics",
	"coordinator/rules_test.go":     "the check under test panics",
	"coordinator/node_test.go":      "the observer under test panics",
	"internal/clock/boot_linux.go":  "a clock that cannot be read leaves no deadline to trust",
	"internal/clock/boot_darwin.go": "a clock that cannot be read leaves no deadline to trust",
	"etcdstore/codec.go":            "our own types encode",
	"etcdstore/store_test.go":       "TestMain has no test to fail",
	"test/lab/bubble/":              "TestMain has no test to fail, and a program under test panics",
	"internal/httpapi/server.go":    "passes a panic on that net/http knows",
	"internal/httpapi/answer.go":    "our own types encode",
}

// panics finds panics in other files.
func panics(files []*source) []string {
	return confined(files, mayPanic, "panic: return an error", func(_ *source, n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return false
		}
		f, ok := call.Fun.(*ast.Ident)
		return ok && f.Name == "panic"
	})
}

// keyWords are parts of keys that are not allowed as whole literals, keyPaths those
// that are not allowed anywhere in a literal.
var (
	keyWords = []string{"election", "handover", "meta", "term"}
	keyPaths = []string{"nodes/", "election/", "mementos/", "history/"}
	// maySpellKeys lists the files that may spell them.
	maySpellKeys = allow{
		"etcdstore/keys.go":  "is the key layout",
		"etcdstore/codec.go": "a field of a value's header is called as a key is",
	}
)

// keyParts finds keys that etcdstore builds outside keys.go.
func keyParts(files []*source) []string {
	return confined(files, maySpellKeys, "part of a key: have keys.go spell it", func(s *source, n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING || s.dir() != "etcdstore" || s.test() {
			return false
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			return false
		}
		return slices.Contains(keyWords, strings.Trim(text, "/")) ||
			slices.ContainsFunc(keyPaths, func(part string) bool { return strings.Contains(text, part) })
	})
}

// marker is written so that it does not match itself.
var marker = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

// markers finds notes about work that was left for later.
func markers(files []*source) []string {
	var findings []string
	for _, s := range files {
		for i, line := range strings.Split(s.text, "\n") {
			if word := marker.FindString(line); word != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %s: do it or drop it", s.path, i+1, word))
			}
		}
	}
	return findings
}
