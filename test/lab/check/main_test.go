package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// A file with a broken invariant, or an incomplete file, does not keep the others from
// being judged.
func TestCheck_JudgesEachFile(t *testing.T) {
	dir := t.TempDir()
	good := &evidence.Run{Layer: "bubble", Seed: 7, TTL: 6e9}
	bad := &evidence.Run{Layer: "process", TTL: 6e9, Enough: 1}
	for name, run := range map[string]*evidence.Run{"good": good, "bad": bad, "cut": good} {
		if err := run.Save(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "cut"), 20); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := check(&out, []string{filepath.Join(dir, "good")}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "seed 7") || !strings.Contains(out.String(), "at once: 0 µs") {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	err := check(&out, []string{filepath.Join(dir, "cut"), filepath.Join(dir, "bad"), filepath.Join(dir, "good")})
	if !errors.Is(err, errBroken) || !errors.Is(err, evidence.ErrCut) {
		t.Error(err)
	}
	if text := out.String(); !strings.Contains(text, "BROKEN invalid: 0 writes were acknowledged") || !strings.Contains(text, "seed 7") {
		t.Errorf("%s", text)
	}
}
