package credentials_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/credentials"
)

// A token file is accepted as a whole or refused with the reason; the reason never contains
// what could be a token, and an empty token is never accepted.
func FuzzTokens(f *testing.F) {
	_, line, err := credentials.NewToken("alice", credentials.Admin)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(line), "token")
	f.Add([]byte("# comment\r\n\n"+line+"\n"+line), "token")
	f.Add([]byte("bob viewer sha256:zz"), "")
	path := filepath.Join(f.TempDir(), "tokens")
	f.Fuzz(func(t *testing.T, text []byte, token string) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := credentials.OpenTokens(path, zap.NewNop())
		if err != nil {
			if !errors.Is(err, credentials.ErrUnusable) {
				t.Errorf("refused by %v, want ErrUnusable", err)
			}
			for word := range strings.FieldsSeq(string(text)) {
				if digest, ok := strings.CutPrefix(word, "sha256:"); ok && len(digest) > 16 && strings.Contains(err.Error(), digest) {
					t.Errorf("it repeats a digest: %v", err)
				}
			}
			return
		}
		holder, known := tokens.Holder(token)
		listed := strings.Contains(strings.ToLower(string(text)), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(token))))
		if known && (!listed || holder.Name == "" || holder.Role == credentials.Nobody) {
			t.Errorf("%q is accepted as the token of %+v", token, holder)
		}
	})
}
