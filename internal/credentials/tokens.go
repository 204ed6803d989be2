// Tokens, the roles they have, and the files that list them.

package credentials

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// Role is what a caller may do. Each role includes those before it.
type Role uint8

// The roles.
const (
	Nobody   Role = iota // only what everybody may do
	Viewer               // may read
	Operator             // may also operate the plane and write mementos
	Admin                // may do everything
)

// roleNames are the roles that a token can have.
var roleNames = map[Role]string{Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String returns the role's name.
func (r Role) String() string {
	if name, ok := roleNames[r]; ok {
		return name
	}
	return "nobody"
}

// ParseRole parses a role that a token can have.
func ParseRole(text string) (Role, error) {
	for role, name := range roleNames {
		if text == name {
			return role, nil
		}
	}
	return Nobody, fmt.Errorf("unknown role %.50q: use viewer, operator or admin", text)
}

// TokenOwner is the owner of a token and the owner's role.
type TokenOwner struct {
	Name string
	Role Role
}

// entry is one line of a token file.
type tokenEntry struct {
	holder TokenOwner
	digest [sha256.Size]byte
}

// Tokens are the tokens that a node accepts, from a file of lines "NAME ROLE
// sha256:DIGEST". Since the file contains only digests, reading it is not enough to use a
// token. A name may have several tokens, so that one can replace another.
type Tokens struct {
	entries *source[[]tokenEntry]
}

// OpenTokens reads a token file. The error is an [ErrUnusable].
func OpenTokens(path string, log *zap.Logger) (*Tokens, error) {
	entries, err := open(log, parseTokens, path)
	if err != nil {
		return nil, err
	}
	return &Tokens{entries}, nil
}

// Holder returns the owner of a token. It compares the token with all known tokens, each in
// constant time.
func (t *Tokens) Holder(token string) (TokenOwner, bool) {
	digest := sha256.Sum256([]byte(token))
	var holder TokenOwner
	known := false
	for _, e := range t.entries.get() {
		if subtle.ConstantTimeCompare(digest[:], e.digest[:]) == 1 {
			holder, known = e.holder, true
		}
	}
	return holder, known
}

const digestPrefix = "sha256:"

var holderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

func checkName(name string) error {
	if !holderName.MatchString(name) {
		return fmt.Errorf("name %.80q: use up to 64 letters, digits and . _ @ -", name)
	}
	return nil
}

func parseTokens(files []pemfile.File) ([]tokenEntry, error) {
	var entries []tokenEntry
	owners := make(map[[sha256.Size]byte]int) // line of each digest
	number := 0
	for line := range bytes.Lines(files[0].Text) {
		number++
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		e, err := parseToken(fields)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", files[0].Path, number, err)
		}
		if other, taken := owners[e.digest]; taken {
			return nil, fmt.Errorf("%s: line %d: the token of line %d again", files[0].Path, number, other)
		}
		owners[e.digest] = number
		entries = append(entries, e)
	}
	return entries, nil
}

// parseToken parses a line. Its errors do not quote what may be a token in the place of a
// digest.
func parseToken(fields []string) (e tokenEntry, err error) {
	if len(fields) != 3 {
		return e, fmt.Errorf("%d words: write NAME ROLE %sDIGEST, as \"coordinator token\" does", len(fields), digestPrefix)
	}
	e.holder.Name = fields[0]
	if err := checkName(e.holder.Name); err != nil {
		return e, err
	}
	if e.holder.Role, err = ParseRole(fields[1]); err != nil {
		return e, err
	}
	text, ok := strings.CutPrefix(fields[2], digestPrefix)
	digest, err := hex.DecodeString(text)
	if !ok || err != nil || len(digest) != len(e.digest) {
		return e, fmt.Errorf("the third word is not %s and %d hexadecimal digits", digestPrefix, 2*len(e.digest))
	}
	copy(e.digest[:], digest)
	return e, nil
}

// NewToken creates a token, and the line that makes a node accept it.
func NewToken(name string, role Role) (token, line string, err error) {
	if err := checkName(name); err != nil {
		return "", "", err
	}
	token = rand.Text()
	return token, fmt.Sprintf("%s %s %s%x", name, role, digestPrefix, sha256.Sum256([]byte(token))), nil
}

// ReadToken reads the file with a client's own token.
func ReadToken(path string) (*ClientToken, error) {
	token, err := open(zap.NewNop(), func(files []pemfile.File) (string, error) {
		token := string(bytes.TrimSpace(files[0].Text))
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", fmt.Errorf("%s: a token is one word of ASCII", files[0].Path)
		}
		return token, nil
	}, path)
	if err != nil {
		return nil, err
	}
	return &ClientToken{token}, nil
}

// ClientToken is the token that a client sends.
type ClientToken struct {
	text *source[string]
}

// Text returns the token.
func (t *ClientToken) Text() string { return t.text.get() }
