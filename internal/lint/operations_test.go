package lint

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// messageAt reports whether a logger's method can log at warn or above, and which of its
// arguments is the message.
func messageAt(method string) (message int, ok bool) {
	switch method {
	case "Warn", "Error", "DPanic", "Panic", "Fatal":
		return 0, true
	case "Log": // its level is an argument
		return 1, true
	default:
		return 0, false
	}
}

// warnings returns the messages that the product logs at warn or above, and findings
// for messages that are not constant.
func warnings(files []*source) (messages, findings []string) {
	for _, s := range goFiles(files) {
		if s.test() || strings.HasPrefix(s.path, "examples/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(method.X) {
				return true
			}
			at, ok := messageAt(method.Sel.Name)
			if !ok || at >= len(call.Args) {
				return true
			}
			text, ok := call.Args[at].(*ast.BasicLit)
			if !ok {
				findings = append(findings, s.report(call, "the message is not constant"))
				return true
			}
			message, err := strconv.Unquote(text.Value)
			if err != nil {
				findings = append(findings, s.report(call, "the message is not text"))
				return true
			}
			messages = append(messages, message)
			return true
		})
	}
	slices.Sort(messages)
	return slices.Compact(messages), findings
}

// isLogger reports whether x has a name that this project gives to loggers.
func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "logger"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Logger"
	default:
		return false
	}
}

// docs/OPERATIONS.md has a row for each message that is logged at warn or above,
// and no row for one that is not.
func TestOperations_TellsOfEveryWarning(t *testing.T) {
	root := moduleRoot(t)
	logged, findings := warnings(readTree(t, root))
	for _, found := range findings {
		t.Error(found)
	}
	if len(logged) < 30 {
		t.Fatalf("found %d messages, that is not all", len(logged))
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:warn|error) \\|").FindAllStringSubmatch(string(text), -1) {
		told = append(told, row[1])
	}
	for _, message := range logged {
		if !slices.Contains(told, message) {
			t.Errorf("docs/OPERATIONS.md has no row for %q", message)
		}
	}
	for _, message := range told {
		if !slices.Contains(logged, message) {
			t.Errorf("docs/OPERATIONS.md has a row for %q, which is not logged", message)
		}
	}
}
