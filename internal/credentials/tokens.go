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

// Role is what somebody may do. Each role may do what those before it may.
type Role uint8

// The roles.
const (
	Nobody   Role = iota // asks only what everybody may ask
	Viewer               // reads
	Operator             // operates the plane, and writes mementos
	Admin                // everything
)

// roleNames are the roles that a token can have, as they are written.
var roleNames = map[Role]string{Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String returns the role as it is written.
func (r Role) String() string {
	if name, ok := roleNames[r]; ok {
		return name
	}
	return "nobody"
}

// ParseRole reads a role that a token can have.
func ParseRole(text string) (Role, error) {
	for role, name := range roleNames {
		if text == name {
			return role, nil
		}
	}
	return Nobody, fmt.Errorf("unknown role %.50q: use viewer, operator or admin", text)
}

// Holder is who shows a token, and what that lets them do.
type Holder struct {
	Name string
	Role Role
}

// entry is one line of a file of tokens.
type entry struct {
	holder Holder
	digest [sha256.Size]byte
}

// Tokens are the tokens that a node takes, from a file of lines "NAME ROLE
// sha256:DIGEST". The file holds digests, so that nobody can use it who reads it. A
// name may have several tokens, so that one can take the place of another.
type Tokens struct {
	entries *source[[]entry]
}

// OpenTokens reads a file of tokens. The error is an [ErrUnusable].
func OpenTokens(path string, log *zap.Logger) (*Tokens, error) {
	entries, err := open(log, parseTokens, path)
	if err != nil {
		return nil, err
	}
	return &Tokens{entries}, nil
}

// Holder tells whose a token is. It compares the token with all there are, each in
// constant time.
func (t *Tokens) Holder(token string) (Holder, bool) {
	digest := sha256.Sum256([]byte(token))
	var holder Holder
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

func parseTokens(files []pemfile.File) ([]entry, error) {
	var entries []entry
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

// parseToken reads the fields of a line. Its errors do not repeat what may be a token
// that was taken for its digest.
func parseToken(fields []string) (e entry, err error) {
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

// NewToken makes a token, and the line with which a node takes it.
func NewToken(name string, role Role) (token, line string, err error) {
	if err := checkName(name); err != nil {
		return "", "", err
	}
	token = rand.Text()
	return token, fmt.Sprintf("%s %s %s%x", name, role, digestPrefix, sha256.Sum256([]byte(token))), nil
}

// ReadToken reads the file of a client's own token.
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

// ClientToken is the token that a client shows.
type ClientToken struct {
	text *source[string]
}

// Text returns the token.
func (t *ClientToken) Text() string { return t.text.get() }
