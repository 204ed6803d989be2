package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pendingFile lists findings that are known and not mended yet, one in a line and
// without the place. Nobody adds to it: mend what a rule finds. A line that is no
// longer needed has to go, and when the last one has gone, so do the file and this
// source.
var pendingFile = filepath.Join("testdata", "pending.txt")

// pending tells, by finding, whether it was needed.
type pending map[string]bool

func readPending(t *testing.T) pending {
	t.Helper()
	text, err := os.ReadFile(pendingFile)
	if err != nil {
		t.Fatal(err)
	}
	known := make(pending)
	for _, l := range lines(string(text)) {
		known[l] = false
	}
	return known
}

var placed = regexp.MustCompile(`^[^ ]+: `)

// covers reports whether a finding is known, and notes that its line is needed.
func (p pending) covers(found string) bool {
	what := placed.ReplaceAllString(found, "")
	if _, known := p[what]; !known {
		return false
	}
	p[what] = true
	return true
}

// TestPending_Shrinks wants no line in the list that no rule needs. With -update it
// deletes those lines, and never adds one: where two changes of the list meet, take
// either and run it so.
func TestPending_Shrinks(t *testing.T) {
	files, known := readTree(t, moduleRoot(t)), readPending(t)
	for _, r := range rules() {
		for _, found := range r.find(files) {
			known.covers(found)
		}
	}
	var needed []string
	for what, need := range known {
		switch {
		case need:
			needed = append(needed, what)
		case !*update:
			t.Errorf("allowed without need: %s", what)
		}
	}
	if t.Failed() {
		t.Log("delete what has been mended: go test ./internal/lint -run Pending -update")
	}
	if *update {
		slices.Sort(needed)
		if err := os.WriteFile(pendingFile, []byte(strings.Join(needed, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
