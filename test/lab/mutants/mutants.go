// Package mutants breaks the product, one rule at a time, to show that the tests notice: a
// check that cannot fail proves nothing.
//
// A [Mutant] consists of a few exact replacements in the product's text and of the tests
// that have to fail on it. The go command uses the changed files in place of the tree's,
// through an overlay, so the product contains no code for this and nothing is modified. A
// text that does not occur exactly once fails loudly: a mutant that does not apply would
// look like one that is not caught.
package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mutant is the product with one rule broken.
type Mutant struct {
	Name string
	// Rule is the rule that the mutant breaks.
	Rule string
	// Invariant is the invariant broken with it, by its number in the laboratory's list.
	Invariant string
	Edits     []Edit
	// Catchers are the tests that have to fail, the cheapest first.
	Catchers []Catcher
	// Lab is the invariant that whole planes in virtual time must be found to break; empty
	// if they do not show it.
	Lab string
}

// InLab returns the catcher that runs whole planes in virtual time.
func (m *Mutant) InLab() Catcher {
	return Catcher{Package: "test/lab/bubble", Test: "TestSeeds", Args: []string{"-seeds", "24"}, Says: m.Lab + " at "}
}

// inFleet returns the catcher that runs a fleet of real processes built from the mutant.
func inFleet(mutant, test, says string) Catcher {
	return Catcher{Package: "test/lab/fleet", Test: test, Args: []string{"-mutant", mutant}, Says: says}
}

// Edit replaces a text that occurs exactly once in a file of the product. The file is named
// relative to the module's root, with slashes.
type Edit struct{ File, Old, New string }

// Catcher is a test of a package that has to fail.
type Catcher struct {
	Package string // below the module's root
	Test    string // as for go test -run
	// Args are the arguments of the test binary.
	Args []string
	// Says is a text that its output must contain, if the failure alone does not show what
	// was found.
	Says string
}

// String formats the catcher as in a command.
func (c *Catcher) String() string { return c.Package + " " + c.Test }

// Named returns the mutant of that name.
func Named(name string) (Mutant, error) {
	for _, m := range All() {
		if m.Name == name {
			return m, nil
		}
	}
	return Mutant{}, fmt.Errorf("there is no mutant %q", name)
}

// Overlay writes the changed files of the module at root into dir, and returns the path for
// -overlay of go build and go test.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	texts := make(map[string]string)
	for _, e := range m.Edits {
		text, begun := texts[e.File]
		if !begun {
			read, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(e.File)))
			if err != nil {
				return "", fmt.Errorf("mutant %s no longer applies: %w", m.Name, err)
			}
			text = string(read)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return "", fmt.Errorf("mutant %s no longer applies: %s contains %d times instead of once:\n%s", m.Name, e.File, n, e.Old)
		}
		texts[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	replace := make(map[string]string)
	for file, text := range texts {
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write mutant %s: %w", m.Name, err)
		}
		replace[filepath.Join(root, filepath.FromSlash(file))] = changed
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("encode overlay of mutant %s: %w", m.Name, err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, overlay, 0o600); err != nil {
		return "", fmt.Errorf("write overlay of mutant %s: %w", m.Name, err)
	}
	return name, nil
}

// Catch runs the test on the product that an overlay makes of the module at root, and
// returns an error unless it fails as it must.
func (c *Catcher) Catch(ctx context.Context, root, overlay string) error {
	args := []string{"test", "-overlay", overlay, "-vet", "off", "-count", "1", "-timeout", "2m", "-run", anchored(c.Test), "./" + c.Package}
	if len(c.Args) > 0 {
		args = append(append(args, "-args"), c.Args...)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return errors.New("it passes")
	case !errors.As(err, &failed):
		return fmt.Errorf("run go %s: %w", strings.Join(args, " "), err)
	case !strings.Contains(string(out), "--- FAIL: "+c.Test):
		return fmt.Errorf("it does not end:\n%s", out)
	case c.Says == "" && strings.Contains(string(out), "\npanic: "):
		return fmt.Errorf("it crashes, which any mistake in the mutant could cause:\n%s", out)
	case !strings.Contains(string(out), c.Says):
		return fmt.Errorf("it does not say %q:\n%s", c.Says, out)
	default:
		return nil
	}
}

// anchored makes each part of a test's name match as a whole.
func anchored(test string) string {
	parts := strings.Split(test, "/")
	for i := range parts {
		parts[i] = "^" + parts[i] + "$"
	}
	return strings.Join(parts, "/")
}
