package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Memento is the part of a memento that counts when copies are compared.
type Memento struct {
	Name     string
	Payload  string
	Modified int64
}

// Digest is the same for the same mementos in any order.
func Digest(mementos []Memento) string {
	sorted := slices.SortedFunc(slices.Values(mementos), func(a, b Memento) int { return cmp.Compare(a.Name, b.Name) })
	sum := sha256.New()
	for _, m := range sorted {
		fmt.Fprintf(sum, "%q %d %x\n", m.Name, m.Modified, sha256.Sum256([]byte(m.Payload)))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
