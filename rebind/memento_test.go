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

func TestParseName(t *testing.T) {
	for _, c := range names() {
		t.Run(c.name, func(t *testing.T) {
			n, err := rebind.ParseName(c.text)
			if c.good && (err != nil || string(n) != c.text) {
				t.Errorf("ParseName(%q) = %q, %v, want it as it is", c.text, n, err)
			}
			if !c.good && (n != "" || !errors.Is(err, rebind.ErrInvalid)) {
				t.Errorf("ParseName(%q) = %q, %v, want ErrInvalid", c.text, n, err)
			}
		})
	}
}

func TestParseName_RefusalIsShort(t *testing.T) {
	_, err := rebind.ParseName(strings.Repeat("x", 1<<20))
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
	} {
		if n, err := rebind.NewName(c.typ, c.id); !errors.Is(err, rebind.ErrInvalid) {
			t.Errorf("%s: name %q, error %v, want ErrInvalid", c.name, n, err)
		}
	}
}

func TestCheckType(t *testing.T) {
	if err := rebind.CheckType("entity"); err != nil {
		t.Errorf("entity: %v", err)
	}
	for _, typ := range []string{"", "Entity", "a/b", "9", strings.Repeat("t", 64)} {
		if err := rebind.CheckType(typ); !errors.Is(err, rebind.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", typ, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, c := range names() {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, id, _ := strings.Cut(text, "/")
		good := strings.Contains(text, "/") && wantType.MatchString(typ) && wantID.MatchString(id) && id != "." && id != ".."
		n, err := rebind.ParseName(text)
		if (err == nil) != good {
			t.Fatalf("ParseName(%q) = %v, the contract says good = %t", text, err, good)
		}
		if err != nil {
			if !errors.Is(err, rebind.ErrInvalid) || n != "" {
				t.Fatalf("ParseName(%q) = %q, %v, want nothing and ErrInvalid", text, n, err)
			}
			return
		}
		again, err := rebind.NewName(n.Type(), n.ID())
		if err != nil || again != n || string(n) != text {
			t.Fatalf("%q came back as %q, error %v", text, again, err)
		}
	})
}
