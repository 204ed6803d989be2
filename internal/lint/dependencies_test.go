package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	requirement = regexp.MustCompile(`(?m)^(?:require |tool |\t)([a-z][\w.-]*\.[\w./-]+)(?: v\S+)?( // indirect)?$`)
	pagePath    = regexp.MustCompile("`([a-z][\\w.-]*\\.[a-z]+/[\\w./-]+)`")
)

// pageDiffers finds modules that a go.mod requires directly and the page does not
// name, and modules that the page names and no go.mod requires.
func pageDiffers(page string, mods ...string) []string {
	var findings []string
	required := make(map[string]bool)
	for _, mod := range mods {
		for _, m := range requirement.FindAllStringSubmatch(mod, -1) {
			required[m[1]] = true
			if m[2] == "" && !covered(page, m[1]) {
				findings = append(findings, fmt.Sprintf("docs/DEPENDENCIES.md has no row for %s", m[1]))
			}
		}
	}
	for _, m := range pagePath.FindAllStringSubmatch(page, -1) {
		if known := required[m[1]] || required[strings.TrimSuffix(m[1], "/doc")]; !known {
			findings = append(findings, fmt.Sprintf("docs/DEPENDENCIES.md has a row for %s, which is not required", m[1]))
		}
	}
	return findings
}

// covered reports whether a page names a module, or the module of a tool.
func covered(page, path string) bool {
	for ; strings.Contains(path, "/"); path = filepath.Dir(path) {
		if strings.Contains(page, "`"+path+"`") {
			return true
		}
	}
	return false
}

// docs/DEPENDENCIES.md has a row for each module that is required directly, for the
// product or for its tools, and none for others.
func TestDependencies_HaveReasons(t *testing.T) {
	root := moduleRoot(t)
	var texts []string
	for _, name := range []string{"docs/DEPENDENCIES.md", "go.mod", "tools/go.mod"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if n := len(requirement.FindAllString(texts[1], -1)); n < 20 {
		t.Fatalf("found %d requirements, that is not all", n)
	}
	for _, found := range pageDiffers(texts[0], texts[1], texts[2]) {
		t.Error(found)
	}
}

// pageDiffers finds what it should.
func TestDependencies_FindsBreaches(t *testing.T) {
	page := "| `example.com/a` | why |\n| `example.com/gone` | why |\n"
	mod := "require (\n\texample.com/a v1.0.0\n\texample.com/b/v2 v2.0.0\n\texample.com/c v1.0.0 // indirect\n)\ntool example.com/a/cmd/x\n"
	want := []string{
		"docs/DEPENDENCIES.md has no row for example.com/b/v2",
		"docs/DEPENDENCIES.md has a row for example.com/gone, which is not required",
	}
	if got := pageDiffers(page, mod); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
