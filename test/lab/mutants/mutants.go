// Package mutants breaks the product, one rule at a time, to show that the tests
// notice: a check that cannot fail proves nothing.
//
// A [Mutant] is a few exact replacements in the product's text and the tests that have
// to fail on it. The go command takes the changed files in place of those of the tree,
// through an overlay, so the product holds no code for this and nothing is touched. A
// text that is no longer there, or not just once, fails loudly: a mutant that does not
// apply would pass for one that is not caught, or worse.
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

// Mutant is a product with one rule broken.
type Mutant struct {
	Name string
	// Rule is what the mutant does not heed.
	Rule string
	// Invariant is what is broken with it, by its number in the laboratory's list.
	Invariant string
	Edits     []Edit
	// Catchers are the tests that have to fail, the cheapest first.
	Catchers []Catcher
	// Lab is the invariant that whole planes in virtual time have to be found to break;
	// empty for what they do not show.
	Lab string
}

// InLab returns the catcher that runs whole planes in virtual time.
func (m *Mutant) InLab() Catcher {
	return Catcher{Package: "test/lab/bubble", Test: "TestSeeds", Args: []string{"-seeds", "24"}, Says: m.Lab + " at "}
}

// inFleet returns the catcher that runs a fleet of real processes which are the mutant.
func inFleet(mutant, test, says string) Catcher {
	return Catcher{Package: "test/lab/fleet", Test: test, Args: []string{"-mutant", mutant}, Says: says}
}

// Edit replaces a text that a file of the product holds exactly once. The file is named
// from the module's root, with slashes.
type Edit struct{ File, Old, New string }

// Catcher is a test of a package that has to fail.
type Catcher struct {
	Package string // below the module's root
	Test    string // as go test -run has it
	// Args are what the test binary is given.
	Args []string
	// Says is what its output must hold beside the failure, if that alone does not tell
	// what was found.
	Says string
}

// String is the catcher as a command names it.
func (c *Catcher) String() string { return c.Package + " " + c.Test }

// Named returns the mutant of a name.
func Named(name string) (Mutant, error) {
	for _, m := range All() {
		if m.Name == name {
			return m, nil
		}
	}
	return Mutant{}, fmt.Errorf("there is no mutant %q", name)
}

// Overlay writes the changed files of the module at root into dir, and returns the path
// of what go build and go test take as -overlay.
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
			return "", fmt.Errorf("mutant %s no longer applies: %s holds %d times, and not once:\n%s", m.Name, e.File, n, e.Old)
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
// returns an error unless it fails as it has to.
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
		return fmt.Errorf("it does not come to an end:\n%s", out)
	case c.Says == "" && strings.Contains(string(out), "\npanic: "):
		return fmt.Errorf("it falls over, which any mistake in the mutant could make it:\n%s", out)
	case !strings.Contains(string(out), c.Says):
		return fmt.Errorf("it does not say %q:\n%s", c.Says, out)
	default:
		return nil
	}
}

// anchored has each part of a test's name match as a whole.
func anchored(test string) string {
	parts := strings.Split(test, "/")
	for i := range parts {
		parts[i] = "^" + parts[i] + "$"
	}
	return strings.Join(parts, "/")
}
