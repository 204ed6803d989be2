package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// breach is a small source that keeps a rule, or breaks it. Its text may hold
// further sources, each after a line "-- path --".
type breach struct {
	name string
	path string
	text string
	want string // a part of the one finding; empty if there is to be none
}

// breaches returns for each rule, by its name, sources that it has to report and
// sources that it must not.
func breaches() map[string][]breach {
	return map[string][]breach{
		"packages import only those to their left":          importBreaches(),
		"every package has a comment":                       packageBreaches(),
		"every exported name has a comment":                 docBreaches(),
		"files and functions are short":                     sizeBreaches(),
		"nothing sleeps":                                    sleepBreaches(),
		"sentinel errors are not compared":                  sentinelBreaches(),
		"goroutines start in known places":                  goBreaches(),
		"nothing runs by being imported":                    initBreaches(),
		"only main ends the process":                        exitBreaches(),
		"panics are in known places":                        panicBreaches(),
		"package variables are not changed":                 globalBreaches(),
		"only keys.go spells keys":                          keyBreaches(),
		"only telemetry knows Prometheus and OpenTelemetry": metricsBreaches(),
		"nothing is left to do":                             markerBreaches(),
		"no two names of a type differ by case alone":       twinBreaches(),
		"a type name has one meaning":                       typeNameBreaches(),
		"names are in the glossary's words":                 nameBreaches(),
		"comments are in the glossary's words":              commentBreaches(),
		"a type's methods stand together":                   shapeBreaches(),
		"documents name files that are there":               fileBreaches(),
	}
}

var nextSource = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

// sources parses the sources of b.
func (b *breach) sources(t *testing.T) (files []*source) {
	t.Helper()
	paths := []string{b.path}
	for _, next := range nextSource.FindAllStringSubmatch(b.text, -1) {
		paths = append(paths, next[1])
	}
	for i, text := range nextSource.Split(b.text, -1) {
		s, err := newSource(paths[i], text)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, s)
	}
	return files
}

// TestRules shows that each rule finds a breach, and passes a source that keeps it.
func TestRules(t *testing.T) {
	all := breaches()
	for _, r := range rules() {
		var failed bool
		for _, b := range all[r.name] {
			failed = failed || b.want != ""
			t.Run(r.name+"/"+b.name, func(t *testing.T) {
				found := r.find(b.sources(t))
				switch {
				case b.want == "" && len(found) > 0:
					t.Errorf("found %q, want nothing", found)
				case b.want != "" && (len(found) != 1 || !strings.Contains(found[0], b.want)):
					t.Errorf("found %q, want one finding with %q", found, b.want)
				}
			})
		}
		if !failed {
			t.Errorf("no source breaks the rule %q", r.name)
		}
		delete(all, r.name)
	}
	for name := range all {
		t.Errorf("sources for the rule %q, which is not one", name)
	}
}

func TestImportClosure(t *testing.T) {
	sound := []string{"fmt", "go.etcd.io/etcd/client/v3", module + "/internal/filelock", "go.etcd.io/etcd/serverless"}
	if found := importClosure("etcdstore", unwanted, sound); len(found) != 0 {
		t.Errorf("found %q, want nothing", found)
	}
	for _, dep := range []string{
		"go.etcd.io/etcd/server/v3/embed", "go.etcd.io/bbolt", "github.com/spf13/cobra", "github.com/spf13/pflag",
		module + "/internal/httpapi", module + "/internal/httpapi/wire",
	} {
		found := importClosure("rebind", unwanted, append(slices.Clone(sound), dep))
		if len(found) != 1 || !strings.Contains(found[0], dep) {
			t.Errorf("found %q, want %s", found, dep)
		}
	}
}

// importing returns a file that imports some packages of the module.
func importing(pkgs ...string) string {
	var b strings.Builder
	b.WriteString("package p\n")
	for _, pkg := range pkgs {
		fmt.Fprintf(&b, "import _ %q\n", module+"/"+pkg)
	}
	return b.String()
}

func importBreaches() []breach {
	return []breach{
		{"modes imports nothing", "modes/x.go", importing("rebind"), "modes may not import rebind"},
		{"rebind imports modes", "rebind/x.go", importing("modes"), ""},
		{"rebind does not import to its right", "rebind/x.go", importing("coordinator"), "rebind may not import coordinator"},
		{"a test of rebind uses the in-memory store", "rebind/x_test.go", importing("rebind", "coordinator", "coordinator/coordtest/memstore"), ""},
		{"an example of the library opens a store", "coordinator/x_test.go", importing("coordinator", "etcdstore"), ""},
		{"the library itself does not", "coordinator/x.go", importing("etcdstore"), "coordinator may not import etcdstore"},
		{"a test imports no command", "rebind/x_test.go", importing("cmd/coordinator"), "may not import cmd/coordinator"},
		{"the store does not know HTTP", "etcdstore/x.go", importing("modes", "internal/httpapi/wire"), "etcdstore may not import internal/httpapi/wire"},
		{"nor does its test", "etcdstore/x_test.go", importing("etcdstore/embedded", "internal/httpapi"), "etcdstore may not import internal/httpapi"},
		{"the API does not know the store", "internal/httpapi/x.go", importing("coordinator", "etcdstore"), "may not import etcdstore"},
		{"the API's parts know each other", "internal/httpapi/client/x.go", importing("internal/httpapi/wire"), ""},
		{"the embedded etcd imports nothing of ours", "etcdstore/embedded/x.go", importing("rebind", "internal/filelock"), "may not import rebind"},
		{"the library does not import the embedded etcd", "etcdstore/x.go", importing("etcdstore/embedded"), "may not import etcdstore/embedded"},
		{"the in-memory store is like any store", "coordinator/coordtest/memstore/x.go", importing("modes", "rebind", "coordinator"), ""},
		{"the in-memory store knows no other", "coordinator/coordtest/memstore/x.go", importing("etcdstore"), "may not import etcdstore"},
		{"the contract knows no store", "coordinator/coordtest/storetest/x.go", importing("coordinator/coordtest/memstore"), "may not import coordinator/coordtest/memstore"},
		{"the command wires everything", "cmd/coordinator/x.go", importing("etcdstore", "etcdstore/embedded", "internal/httpapi", "modes"), ""},
		{"the command takes nothing from the tests", "cmd/coordinator/x.go", importing("test/etcd"), "may not import test/etcd"},
		{"tests of the whole use each other", "test/integration/x_test.go", importing("test/etcd", "etcdstore", "internal/httpapi/client"), ""},
		{"a new package has to be placed", "util/x.go", importing(), "util has no place"},
	}
}

func packageBreaches() []breach {
	return []breach{
		{"a package that says what it is", "a/x.go", "// Package a is one.\npackage a\n", ""},
		{"a command says what it does", "a/main.go", "// Command a does.\npackage main\n", ""},
		{"an external test speaks for its directory", "a/x_test.go", "// Package a is tests only.\npackage a_test\n", ""},
		{"a package without a comment", "a/x.go", "package a\n", "a: no package comment"},
		{"a comment that is not about the package", "a/x.go", "// Helpers.\npackage a\n", "a: no package comment"},
		{"a comment that is kept apart", "a/x.go", "// Package a is one.\n\npackage a\n", "a: no package comment"},
	}
}

func docBreaches() []breach {
	return []breach{
		{"names with comments", "a/x.go", "package a\n// T is.\ntype T int\n// A T2 is.\ntype T2 int\n// F does.\nfunc F() {}\n// M does.\nfunc (T) M() {}\n", ""},
		{"a group with a comment", "a/x.go", "package a\n// Limits of things.\nconst (\n\tA = 1\n\tB = 2\n)\n", ""},
		{"names of the package's own", "a/x.go", "package a\ntype t int\nfunc f() {}\nvar v int\nfunc (t) m() {}\n", ""},
		{"a test's names", "a/x_test.go", "package a\nfunc TestX() {}\n", ""},
		{"a type without", "a/x.go", "package a\ntype T int\n", "T has no comment"},
		{"a type in a group without", "a/x.go", "package a\n// Types.\ntype (\n\tT int\n)\n", "T has no comment"},
		{"a function without", "a/x.go", "package a\nfunc F() {}\n", "F has no comment"},
		{"a method without", "a/x.go", "package a\ntype t int\nfunc (t) M() {}\n", "M has no comment"},
		{"a comment that begins otherwise", "a/x.go", "package a\n// Does it.\nfunc F() {}\n", "F has no comment"},
		{"a comment that begins with a longer name", "a/x.go", "package a\n// Fuller does.\nfunc F() {}\n", "F has no comment"},
		{"a constant without", "a/x.go", "package a\nconst C = 1\n", "C has no comment"},
		{"a variable in a group without", "a/x.go", "package a\nvar (\n\t// V is.\n\tV = 1\n\tW = 2\n)\n", "W has no comment"},
	}
}

func sizeBreaches() []breach {
	function := func(lines int) string {
		return "package a\nfunc f() {\n" + strings.Repeat("\n", lines-2) + "}\n"
	}
	file := func(lines int) string { return "package a\n" + strings.Repeat("\n", lines-1) }
	return []breach{
		{"a file of the most lines", "a/x.go", file(600), ""},
		{"a file of one more", "a/x.go", file(601), "601 lines"},
		{"a test of the most lines", "a/x_test.go", file(600), ""},
		{"a test of one more", "a/x_test.go", file(601), "601 lines"},
		{"a function of the most lines", "a/x.go", function(70), ""},
		{"a function of one more", "a/x.go", function(71), "function of 71 lines"},
		{"a test's function of one more", "a/x_test.go", function(71), "function of 71 lines"},
		{"a function in a variable", "a/x.go", strings.Replace(function(71), "func f()", "var f = func()", 1), "function of 71 lines"},
	}
}

func sleepBreaches() []breach {
	return []breach{
		{"a timer", "a/x.go", "package a\nimport \"time\"\nfunc f() { <-time.After(1) }\n", ""},
		{"a sleep", "a/x.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "a/x.go:3: time.Sleep"},
		{"a test's sleep", "a/x_test.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "time.Sleep"},
		{"a sleep by another name", "a/x.go", "package a\nimport clock \"time\"\nvar f = clock.Sleep\n", "time.Sleep"},
	}
}

func sentinelBreaches() []breach {
	return []breach{
		{"errors.Is", "a/x.go", "package a\nvar b = errors.Is(err, ErrX)\n", ""},
		{"nil", "a/x.go", "package a\nvar b = err != nil && Errand == 1\n", ""},
		{"equal", "a/x.go", "package a\nvar b = err == ErrX\n", "sentinel error compared"},
		{"not equal to another package's", "a/x_test.go", "package a\nvar b = io.ErrUnexpectedEOF != err\n", "sentinel error compared"},
		{"a switch", "a/x.go", "package a\nfunc f() { switch err { case nil, x.ErrX: } }\n", "sentinel error compared"},
	}
}

func goBreaches() []breach {
	return []breach{
		{"a group", "a/x.go", "package a\nfunc f() { wg.Go(g) }\n", ""},
		{"a known place", "coordinator/program.go", "package coordinator\nfunc f() { go g() }\n", ""},
		{"an unknown place", "a/x.go", "package a\nfunc f() { go g() }\n", "a/x.go:2: go statement"},
		{"an unknown test", "a/x_test.go", "package a\nfunc f() { go g() }\n", "go statement"},
		{"a known place without need", "coordinator/program.go", "package coordinator\n", "allowed without need"},
	}
}

func initBreaches() []breach {
	return []breach{
		{"a method", "a/x.go", "package a\nfunc (t) init() {}\n", ""},
		{"an init", "a/x.go", "package a\nfunc init() {}\n", "init function"},
	}
}

func exitBreaches() []breach {
	exit := "package p\nimport \"os\"\nfunc f() { os.Exit(1) }\n"
	return []breach{
		{"main", "cmd/coordinator/main.go", exit, ""},
		{"a helper of tests", "test/etcd/main.go", exit, ""},
		{"another file of the command", "cmd/coordinator/run.go", exit, "os.Exit"},
		{"a test", "etcdstore/x_test.go", exit, "os.Exit"},
	}
}

func panicBreaches() []breach {
	return []breach{
		{"a method", "a/x.go", "package a\nfunc f() { x.panic() }\n", ""},
		{"a known place", "etcdstore/codec.go", "package etcdstore\nfunc f() { panic(1) }\n", ""},
		{"an unknown place", "a/x.go", "package a\nfunc f() { panic(1) }\n", "panic"},
	}
}

func globalBreaches() []breach {
	with := func(body string) string {
		return "package a\nvar m = map[string]int{}\nfunc f(k string) {\n" + body + "\n}\n"
	}
	return []breach{
		{"reading", "a/x.go", with("_ = m[k]"), ""},
		{"a local of the same name", "a/x.go", with("m := map[string]int{}\nm[k] = 1"), ""},
		{"assigning", "a/x.go", with("m = nil"), "m belongs to the package"},
		{"assigning a part", "a/x.go", with("m[k] = 1"), "m belongs to the package"},
		{"counting", "a/x.go", with("m[k]++"), "m belongs to the package"},
		{"deleting", "a/x.go", with("delete(m, k)"), "m belongs to the package"},
		{"a loop's variable", "a/x.go", with("for _, m[k] = range x {}"), "m belongs to the package"},
	}
}

func keyBreaches() []breach {
	spell := func(lit string) string { return "package etcdstore\nvar k = root + " + lit + "\n" }
	return []breach{
		{"the key layout", "etcdstore/keys.go", spell(`"nodes/"`), ""},
		{"a sentence", "etcdstore/x.go", spell(`"the term is over, nodes go"`), ""},
		{"a test", "etcdstore/x_test.go", spell(`"term"`), ""},
		{"another package", "coordinator/x.go", spell(`"term"`), ""},
		{"a word", "etcdstore/x.go", spell(`"term"`), "part of a key"},
		{"a word with slashes", "etcdstore/x.go", spell(`"/election/"`), "part of a key"},
		{"a path in a format", "etcdstore/x.go", spell("`%s/mementos/%s`"), "part of a key"},
	}
}

func markerBreaches() []breach {
	return []breach{
		{"a word that holds one", "a/x.md", "XX" + "XX and hacks\n", ""},
		{"in a comment", "a/x.go", "package a\n\n// TO" + "DO: more\n", "a/x.go:3"},
		{"in a text", "a/x.md", "# Title\n\nFIX" + "ME\n", "a/x.md:3"},
		{"in a test", "a/x_test.go", "package a // XX" + "X\n", "a/x_test.go:1"},
		{"in a string", "a/x.go", "package a\nvar s = \"HA" + "CK\"\n", "a/x.go:2"},
	}
}

func metricsBreaches() []breach {
	const what = "Prometheus or OpenTelemetry"
	return []breach{
		{"the package of metrics", "internal/telemetry/x.go", "package telemetry\nimport _ \"github.com/prometheus/client_golang/prometheus\"\n", ""},
		{"a test that reads", "test/integration/x_test.go", "package x\nimport _ \"github.com/prometheus/common/expfmt\"\n", ""},
		{"another library", "coordinator/x.go", "package coordinator\nimport _ \"go.uber.org/zap\"\n", ""},
		{"metrics elsewhere", "internal/httpapi/x.go", "package httpapi\nimport _ \"github.com/prometheus/client_golang/prometheus\"\n", what},
		{"traces elsewhere", "coordinator/x.go", "package coordinator\nimport _ \"go.opentelemetry.io/otel/trace\"\n", what},
	}
}

func twinBreaches() []breach {
	return []breach{
		{"a getter of a field", "a/x.go", "package a\ntype T struct{ name string }\nfunc (t T) Name() string { return t.name }\n", ""},
		{"two types", "a/x.go", "package a\nfunc (T) Do() {}\nfunc (*U) do() {}\n", ""},
		{"a test's methods", "a/x_test.go", "package a\nfunc (T) Do() {}\nfunc (T) do() {}\n", ""},
		{"two methods", "a/x.go", "package a\nfunc (T) Do() {}\nfunc (*T) do() {}\n", "a/x.go:3: T.Do and T.do differ"},
		{"two methods in two files", "a/x.go", "package a\nfunc (T) CatchUp() {}\n-- a/y.go --\npackage a\nfunc (t *T[K]) catchUp() {}\n", "T.CatchUp and T.catchUp"},
		{"two fields", "a/x.go", "package a\ntype T struct { Name, name string }\n", "T.Name and T.name"},
		{"two methods of an interface", "a/x.go", "package a\ntype T interface { Do()\n do() }\n", "T.Do and T.do"},
	}
}

func typeNameBreaches() []breach {
	importing := func(pkg, typ string) string {
		return "package p\nimport _ \"" + module + "/" + pkg + "\"\n" + typ + "\n"
	}
	return []breach{
		{"two packages that do not meet", "a/x.go", "package a\ntype Span int\n-- b/y.go --\npackage b\ntype span int\n", ""},
		{"a test's type", "a/x_test.go", importing("b", "type span int") + "-- b/y.go --\npackage b\ntype span int\n", ""},
		{"the laboratory", "test/x.go", importing("b", "type Span int") + "-- b/y.go --\npackage b\ntype Span int\n", ""},
		{"a name with a reason", "a/x.go", "package a\ntype Config int\n-- b/y.go --\npackage b\ntype Config int\n", ""},
		{"a reason without need", "a/x.go", "package a\ntype Config int\n", "allowed without need"},
		{"two that others see", "a/x.go", "package a\ntype Span int\n-- b/y.go --\npackage b\ntype Span int\n", "a/x.go:2,b/y.go:2: type span"},
		{"one that meets another", "a/x.go", importing("b", "type span int") + "-- b/y.go --\npackage b\ntype Span int\n", "a/x.go:3,b/y.go:2: type span"},
	}
}

// old is a word of the old dialect, written so that no rule finds it here.
const old = "rei" + "gn"

func nameBreaches() []breach {
	return []breach{
		{"a word that holds one", "a/x.go", "package a\nvar sove" + old + "s, fore" + old + "Key int\n", ""},
		{"a use", "a/x.go", "package a\nvar x = other." + old + "\n", ""},
		{"a type", "a/x.go", "package a\ntype " + old + " int\n", "name " + old},
		{"a part of a function's name", "a/x.go", "package a\nfunc TestX_TheRei" + "gnEnds() {}\n", "name TestX_TheRei" + "gnEnds"},
		{"a part behind letters", "a/x.go", "package a\nvar httpAPIRei" + "gn2 int\n", ""},
		{"a parameter", "a/x.go", "package a\nfunc f(" + old + " int) {}\n", "name " + old},
		{"a local", "a/x.go", "package a\nfunc f() { " + old + " := 1 }\n", "name " + old},
		{"two parts that stand together", "a/x.go", "package a\nfunc drawLevelWith() {}\n", "name drawLevelWith"},
		{"two parts that do not", "a/x.go", "package a\nfunc drawTheLevel() {}\n", ""},
	}
}

func commentBreaches() []breach {
	return []breach{
		{"a word that holds one", "a/x.go", "package a // sove" + old + "\n", ""},
		{"a string", "a/x.go", "package a\nvar s = \"" + old + "\"\n", ""},
		{"a word that sentences need", "a/x.go", "package a // out of sight\n", ""},
		{"what was", "CHANGELOG.md", old + "\n", ""},
		{"a comment", "a/x.go", "package a\n\n/* the\nRei" + "gn */\n", "a/x.go:4: comment: instead of \"rei" + "gn\""},
		{"a document", "docs/x.md", "# X\n\nA " + old + ".\n", "docs/x.md:3: comment"},
	}
}

func fileBreaches() []breach {
	return []breach{
		{"a file", "docs/x.md", "In `a/x.go`, and in `x.go`.\n-- a/x.go --\npackage a\n", ""},
		{"what is no file of Go", "docs/x.md", "`a.T`, `*.go`, `a/x.yaml`\n", ""},
		{"what was", "CHANGELOG.md", "`a/x.go`\n", ""},
		{"a file that is gone", "docs/x.md", "\nIn `a/y.go`.\n-- a/x.go --\npackage a\n", "docs/x.md:2: names the file a/y.go"},
		{"a name that is gone", "docs/x.md", "`y.go`\n-- a/x.go --\npackage a\n", "names the file y.go"},
	}
}
