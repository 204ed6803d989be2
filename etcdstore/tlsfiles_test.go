package etcdstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/internal/certtest"
)

// What the files hold counts whole or not at all; what they held before stays in force.
func TestTLSFiles_WholeOrTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ca, err := certtest.NewCA(dir, "ca")
	must(err)
	other, err := certtest.NewCA(dir, "other")
	must(err)
	cert, key, err := ca.Issue(certtest.Pair{Name: "node"})
	must(err)
	text := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		must(err)
		return string(text)
	}
	one, two, secret := text(ca.File()), text(other.File()), text(key)
	put := func(path, text string) {
		t.Helper()
		must(os.WriteFile(path, []byte(text), 0o600))
	}
	encrypted := "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"

	put(at("bundle"), one+two[:len(two)/2])
	if cfg, err := etcdstore.TLSFiles(at("bundle"), cert, key)(); cfg != nil || err == nil {
		t.Errorf("a damaged bundle is taken at start: %v", err)
	}
	put(at("bundle"), one)
	files := etcdstore.TLSFiles(at("bundle"), cert, key)
	before, err := files()
	must(err)
	for name, c := range map[string]struct{ path, text, says string }{
		"a cut bundle":     {at("bundle"), two + one[:len(one)/2], "bundle: it is damaged or truncated"},
		"an empty bundle":  {at("bundle"), "", "contains no certificate"},
		"a key in it":      {at("bundle"), one + secret, "must contain only certificates"},
		"an encrypted key": {key, encrypted, "node.key: the key is encrypted"},
		"no key":           {key, "", "node.key: it contains no key"},
		"a cut chain":      {cert, text(cert) + one[:len(one)/2], "node.crt: it is damaged or truncated"},
	} {
		good := text(c.path)
		put(c.path, c.text)
		cfg, err := files()
		if cfg != before || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q and what was before", name, err, c.says)
		}
		put(c.path, good)
		if before, err = files(); err != nil {
			t.Errorf("%s, put right: %v", name, err)
		}
	}
	put(at("bundle"), one+two)
	if cfg, err := files(); err != nil || cfg.RootCAs.Equal(before.RootCAs) {
		t.Errorf("a new bundle is not taken up: %v", err)
	}
}
