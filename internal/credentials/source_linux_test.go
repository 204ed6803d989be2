package credentials_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/internal/credentials"
)

// lines returns the lines for some holders, and their tokens.
func lines(t *testing.T, names ...string) (all []string, tokens []string) {
	t.Helper()
	for _, name := range names {
		token, line, err := credentials.NewToken(name, credentials.Admin)
		if err != nil {
			t.Fatal(err)
		}
		all, tokens = append(all, line+"\n"), append(tokens, token)
	}
	return all, tokens
}

// shared returns a directory that every user may read.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "credentials")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// known returns whose tokens are accepted, as seen by a user other than root.
func known(t *testing.T, tokens *credentials.Tokens, shown ...string) []string {
	t.Helper()
	if os.Geteuid() == 0 {
		const nobody = 65534
		runtime.LockOSThread() // the owner
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err != nil {
				t.Fatal(err)
			}
		}()
	}
	var names []string
	for _, token := range shown {
		if holder, ok := tokens.Holder(token); ok {
			names = append(names, holder.Name)
		}
	}
	return names
}

// A file that could not be read is read as soon as it can be, even if nothing else about it
// has changed.
func TestTokens_FileThatIsPutRightIsRead(t *testing.T) {
	line, token := lines(t, "alice", "mallory")
	for name, c := range map[string]struct{ spoil, mend func(path string) error }{
		"its permissions": {
			func(path string) error { return os.Chmod(path, 0) },
			func(path string) error { return os.Chmod(path, 0o644) },
		},
		"its directory's": {
			func(path string) error { return os.Chmod(filepath.Dir(path), 0) },
			func(path string) error { return os.Chmod(filepath.Dir(path), 0o755) },
		},
		"a directory in its place": {
			func(path string) error {
				_ = os.Rename(path, path+".real")
				return os.Mkdir(path, 0o755)
			},
			func(path string) error { _ = os.Remove(path); return os.Rename(path+".real", path) },
		},
		"a pipe in its place": { // without a writer
			func(path string) error {
				_ = os.Rename(path, path+".real")
				return syscall.Mkfifo(path, 0o644)
			},
			func(path string) error { _ = os.Remove(path); return os.Rename(path+".real", path) },
		},
		"gone": {
			func(path string) error { return os.Rename(path, path+".real") },
			func(path string) error { return os.Rename(path+".real", path) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shared(t), "tokens")
			put(t, path, line[0]+line[1])
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.WarnLevel)
			tokens, err := credentials.OpenTokens(path, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			// Mallory's token is removed by replacing the file, as an editor does; for now
			// only root can read the new file.
			put(t, path+".new", line[0])
			if err := os.Chmod(path+".new", 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := known(t, tokens, token...); !slices.Equal(got, []string{"alice", "mallory"}) {
					t.Errorf("while the file cannot be read these are accepted: %v, want the previous ones", got)
				}
			}
			if n := logged.FilterMessage("changed credentials cannot be used, the old ones stay in force").Len(); n != 1 {
				t.Errorf("%d warnings, want one so far", n)
			}
			if err := c.mend(path); err != nil {
				t.Fatal(err)
			}
			if got := known(t, tokens, token...); !slices.Equal(got, []string{"alice"}) {
				t.Errorf("once the file can be read these are accepted: %v, want alice", got)
			}
		})
	}
}

// Two changes within one tick of the clock are noticed, and so is a file of the same size
// and age.
func TestTokens_ChangeThatLeavesSizeAndTime(t *testing.T) {
	t.Parallel()
	line, token := lines(t, "alice", "mally")
	path := filepath.Join(shared(t), "tokens")
	then := time.Now().Add(-time.Hour).Truncate(time.Second)
	rewrite := func(text string) {
		t.Helper()
		put(t, path, text)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(line[0])
	tokens, err := credentials.OpenTokens(path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	swap := func() {
		t.Helper()
		for i, name := range []string{"mally", "alice", "mally", "alice"} {
			rewrite(line[1-i%2])
			holder, ok := tokens.Holder(token[1-i%2])
			if _, old := tokens.Holder(token[i%2]); !ok || holder.Name != name || old {
				t.Fatalf("change %d: %+v %t, and the other token is accepted: %t", i, holder, ok, old)
			}
		}
	}
	swap()
	<-time.After(credentials.SettledAfter + 100*time.Millisecond)
	tokens.Holder("whoever")
	swap()
}

// A pipe, as a shell creates for <(command), can be read only once.
func TestTokens_Pipe(t *testing.T) {
	line, token := lines(t, "alice")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(line[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tokens, err := credentials.OpenTokens(fmt.Sprintf("/dev/fd/%d", r.Fd()), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, ok := tokens.Holder(token[0]); !ok {
			t.Error("the token is not accepted")
		}
	}
}

// A bundle is not used if part of it cannot be read: the previous one stays in force, and a
// warning is logged.
func TestTLS_DamagedBundleLeavesTheOneBefore(t *testing.T) {
	ours, theirs := authority(t, "ours"), authority(t, "theirs")
	cert, key := issue(t, ours, certtest.Pair{Name: "node"})
	one, two := text(t, ours.File()), text(t, theirs.File())
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	put(t, bundle, one[:len(one)/2]+two)
	if _, err := credentials.OpenClient("", "", bundle, zap.NewNop()); err == nil || !strings.Contains(err.Error(), bundle) {
		t.Errorf("a truncated bundle is accepted at the start: %v", err)
	}
	put(t, bundle, one)
	core, logged := observer.New(zap.WarnLevel)
	client, err := credentials.OpenClient("", "", bundle, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	url, _ := listen(t, cert, key, "")
	for _, damaged := range []string{two + one[:len(one)/2], two + "-----BEGIN\n" + one, two + text(t, key)} {
		put(t, bundle, damaged)
		if _, err := get(url, client); err != nil {
			t.Errorf("with the damaged bundle: %v, want what the previous one trusts", err)
		}
	}
	if n := logged.Len(); n != 3 {
		t.Errorf("%d warnings, want one for each", n)
	}
	put(t, bundle, two)
	if _, err := get(url, client); err == nil {
		t.Error("the new bundle is not in force")
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
