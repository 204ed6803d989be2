package rebind_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/rebind"
)

// The patterns of the contract, spelled anew: what stored names look like does
// not change with the code.
var (
	wantType = regexp.MustCompile(`\A[a-z][a-z0-9_-]{0,62}\z`)
	wantID   = regexp.MustCompile(`\A[A-Za-z0-9._~-]{1,200}\z`)
)

// names is text that is a memento's name, or is not.
func names() []struct {
	name, text string
	good       bool
} {
	return []struct {
		name, text string
		good       bool
	}{
		{"one letter each", "a/b", true},
		{"all that a type may hold", "a0_-z9/b", true},
		{"all that an id may hold", "a/AZaz09._~-", true},
		{"the longest type", strings.Repeat("t", 63) + "/b", true},
		{"the longest id", "a/" + strings.Repeat("I", 200), true},
		{"an id of three dots", "a/...", true},
		{"an id that begins with a dot", "a/.b", true},
		{"an id that begins with a hyphen", "a/-", true},
		{"nothing", "", false},
		{"a type alone", "entity", false},
		{"no type", "/b", false},
		{"no id", "a/", false},
		{"a slash alone", "/", false},
		{"a second slash", "a/b/c", false},
		{"a slash at the end", "a/b/", false},
		{"a type one too long", strings.Repeat("t", 64) + "/b", false},
		{"an id one too long", "a/" + strings.Repeat("I", 201), false},
		{"the id .", "a/.", false},
		{"the id ..", "a/..", false},
		{"an upper-case letter in the type", "A/b", false},
		{"a type that begins with a digit", "1a/b", false},
		{"a type that begins with an underscore", "_a/b", false},
		{"a type that begins with a hyphen", "-a/b", false},
		{"a dot in the type", "a.b/c", false},
		{"a tilde in the type", "a~/b", false},
		{"a space in the id", "a/b c", false},
		{"a line break after the id", "a/b\n", false},
		{"a line break after the type", "a\n/b", false},
		{"a zero byte", "a/b\x00", false},
		{"a percent sign", "a/%41", false},
		{"a backslash", `a\b/c`, false},
		{"a letter with an accent in the id", "a/é", false},
		{"a letter with an accent in the type", "é/b", false},
		{"a wide letter", "a/\uff42", false},
		{"a slash that is none", "a\u2215b", false},
		{"a byte that is no text", "a/\xff", false},
	}
}

func TestName_Check(t *testing.T) {
	for _, c := range names() {
		t.Run(c.name, func(t *testing.T) {
			if err := rebind.Name(c.text).Check(); (err == nil) != c.good || !c.good && !errors.Is(err, rebind.ErrInvalid) {
				t.Errorf("check of %q = %v, want good = %t", c.text, err, c.good)
			}
		})
	}
}

func TestName_RefusalIsShort(t *testing.T) {
	err := rebind.Name(strings.Repeat("x", 1<<20)).Check()
	if err == nil || len(err.Error()) > 400 {
		t.Errorf("error of %d bytes, want what was sent cut short", len(err.Error()))
	}
}

func TestNewName(t *testing.T) {
	n, err := rebind.NewName("entity", "x.1")
	if err != nil || n != "entity/x.1" || n.Type() != "entity" || n.ID() != "x.1" {
		t.Errorf("name = %q of %q and %q, error %v", n, n.Type(), n.ID(), err)
	}
	for _, c := range []struct{ name, typ, id string }{
		{"a slash in the type", "a/b", "c"},
		{"a slash in the id", "a", "b/c"},
		{"no type", "", "b"},
		{"no id", "a", ""},
		{"a type in capitals", "Entity", "any"},
		{"a type of a digit", "9", "any"},
		{"a type one too long", strings.Repeat("t", 64), "any"},
	} {
		if n, err := rebind.NewName(c.typ, c.id); !errors.Is(err, rebind.ErrInvalid) {
			t.Errorf("%s: name %q, error %v, want ErrInvalid", c.name, n, err)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, c := range names() {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, id, _ := strings.Cut(text, "/")
		good := strings.Contains(text, "/") && wantType.MatchString(typ) && wantID.MatchString(id) && id != "." && id != ".."
		n := rebind.Name(text)
		err := n.Check()
		if (err == nil) != good {
			t.Fatalf("check of %q = %v, the contract says good = %t", text, err, good)
		}
		if err != nil {
			if !errors.Is(err, rebind.ErrInvalid) {
				t.Fatalf("check of %q = %v, want ErrInvalid", text, err)
			}
			return
		}
		again, err := rebind.NewName(n.Type(), n.ID())
		if err != nil || again != n {
			t.Fatalf("%q came back as %q, error %v", text, again, err)
		}
	})
}
