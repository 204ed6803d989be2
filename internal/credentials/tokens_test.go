package credentials_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/internal/credentials"
)

// made creates a token and its line.
func made(t *testing.T, name string, role credentials.Role) (token, line string) {
	t.Helper()
	token, line, err := credentials.NewToken(name, role)
	if err != nil {
		t.Fatal(err)
	}
	return token, line
}

// write replaces a file as a whole, by a rename.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestTokens_SayWhoseTheyAre(t *testing.T) {
	alice, aliceLine := made(t, "alice", credentials.Admin)
	again, againLine := made(t, "alice", credentials.Viewer)
	bot, botLine := made(t, "bot@ci", credentials.Operator)
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "# who may what\n\n"+aliceLine+"\r\n\t"+againLine+" \n  # "+botLine+"\n"+botLine)
	tokens, err := credentials.OpenTokens(path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]credentials.TokenOwner{
		alice: {Name: "alice", Role: credentials.Admin},
		again: {Name: "alice", Role: credentials.Viewer},
		bot:   {Name: "bot@ci", Role: credentials.Operator},
	} {
		if got, known := tokens.Holder(token); !known || got != want {
			t.Errorf("holder = %v, %t, want %v", got, known, want)
		}
	}
	_, digest, _ := strings.Cut(aliceLine, "sha256:")
	for _, token := range []string{"", alice + " ", alice[1:], strings.ToLower(alice), digest, "sha256:" + digest} {
		if got, known := tokens.Holder(token); known || got != (credentials.TokenOwner{}) {
			t.Errorf("%q is accepted as the token of %v", token, got)
		}
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), alice) {
		t.Errorf("the file contains the token itself, %v", err)
	}
}

// A file with a mistake is refused as a whole; the error names the line but does not quote
// what may be a token.
func TestTokens_RefusesMistakes(t *testing.T) {
	secret, line := made(t, "alice", credentials.Admin)
	for name, c := range map[string]struct{ text, says string }{
		"a token instead of its digest": {"alice admin " + secret, "line 1: the third word is not sha256:"},
		"a digest without a name":       {"\nadmin sha256:00", "line 2: 2 words"},
		"a word too many":               {line + " x", "line 1: 4 words"},
		"a digest too short":            {line[:len(line)-2], "line 1: the third word"},
		"a digest too long":             {line + "00", "line 1: the third word"},
		"a digest that is not one":      {line[:len(line)-1] + "x", "line 1: the third word"},
		"another digest":                {strings.Replace(line, "sha256", "sha512", 1), "line 1: the third word"},
		"an unknown role":               {strings.Replace(line, "admin", "root", 1), `line 1: unknown role "root"`},
		"nobody's role":                 {strings.Replace(line, "admin", "nobody", 1), `line 1: unknown role "nobody"`},
		"an invalid name":               {strings.Replace(line, "alice", "a/b", 1), `line 1: name "a/b"`},
		"the same token twice":          {line + "\n" + strings.Replace(line, "alice", "bob", 1), "line 2: the token of line 1 again"},
		"a mistake after the rest":      {line + "\nx", "line 2: 1 words"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens")
			write(t, path, c.text)
			_, err := credentials.OpenTokens(path, zap.NewNop())
			if !errors.Is(err, credentials.ErrUnusable) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
	if _, err := credentials.OpenTokens(filepath.Join(t.TempDir(), "none"), zap.NewNop()); !errors.Is(err, credentials.ErrUnusable) {
		t.Errorf("no file: %v", err)
	}
	for _, name := range []string{"", "a b", "-a", strings.Repeat("x", 65), "a\n"} {
		if _, _, err := credentials.NewToken(name, credentials.Viewer); err == nil {
			t.Errorf("name %q is accepted", name)
		}
	}
}

// Added and removed tokens take effect with the next request; a file that cannot be read
// changes nothing and causes one warning.
func TestTokens_ReadAnewWhenTheyChange(t *testing.T) {
	alice, aliceLine := made(t, "alice", credentials.Admin)
	bob, bobLine := made(t, "bob", credentials.Viewer)
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, aliceLine)
	logged, logs := observer.New(zap.InfoLevel)
	tokens, err := credentials.OpenTokens(path, zap.New(logged))
	if err != nil {
		t.Fatal(err)
	}
	know := func(step string, wantAlice, wantBob bool) {
		t.Helper()
		_, hasAlice := tokens.Holder(alice)
		_, hasBob := tokens.Holder(bob)
		if hasAlice != wantAlice || hasBob != wantBob {
			t.Errorf("%s: alice is known: %t, bob: %t, want %t, %t", step, hasAlice, hasBob, wantAlice, wantBob)
		}
	}
	know("at first", true, false)
	write(t, path, aliceLine+"\n"+bobLine)
	know("bob added", true, true)
	write(t, path, bobLine)
	know("alice removed", false, true)
	write(t, path, aliceLine+"\nnonsense")
	know("with a mistake", false, true)
	know("with the same mistake", false, true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	know("without the file", false, true)
	know("still without it", false, true)
	if warned := logs.FilterLevelExact(zap.WarnLevel).Len(); warned != 2 {
		t.Errorf("warned %d times of two mistakes", warned)
	}
	write(t, path, aliceLine)
	know("with the mistake again", true, false)
	write(t, path, "")
	know("emptied", false, false)
}

func TestReadToken_IsOneWord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, " abc\n")
	token, err := credentials.ReadToken(path)
	if err != nil || token.Text() != "abc" {
		t.Fatalf("token = %v, %v", token, err)
	}
	write(t, path, "def\n")
	if got := token.Text(); got != "def" {
		t.Errorf("after the change it is %q", got)
	}
	for _, text := range []string{"", "\n", "a b", "a\nb", "pä"} {
		write(t, path, text)
		if _, err := credentials.ReadToken(path); !errors.Is(err, credentials.ErrUnusable) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
