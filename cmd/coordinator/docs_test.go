package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The pages about the command are generated from the command. This test is in package main
// because only that has the command tree.
var (
	update = flag.Bool("update", false, "rewrite docs/cli")
	man    = flag.String("man", "", "write the man pages into this directory")
)

const cliDocs = "../../docs/cli"

// documented returns the command tree as the pages show it: the root, and all commands.
func documented() (*cobra.Command, []*cobra.Command) {
	root := newRoot(streams{})
	root.DisableAutoGenTag = true // no date of generation
	return root, allCommands(root)
}

// docs/cli matches the --help of every command and has no other pages.
func TestDocs_AreCurrent(t *testing.T) {
	root, commands := documented()
	if *update {
		if err := os.RemoveAll(cliDocs); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(cliDocs, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := doc.GenMarkdownTree(root, cliDocs); err != nil {
			t.Fatal(err)
		}
	}
	want := t.TempDir()
	if err := doc.GenMarkdownTree(root, want); err != nil {
		t.Fatal(err)
	}
	if n := len(names(t, want)); n != len(commands) {
		t.Errorf("%d pages for %d commands", n, len(commands))
	}
	for name := range names(t, want) {
		now, err := os.ReadFile(filepath.Join(want, name))
		if err != nil {
			t.Fatal(err)
		}
		told, err := os.ReadFile(filepath.Join(cliDocs, name))
		if err != nil || !bytes.Equal(told, now) {
			t.Errorf("docs/cli/%s does not match the command, run make docs: %v", name, err)
		}
	}
	for name := range names(t, cliDocs) {
		if _, err := os.Stat(filepath.Join(want, name)); err != nil {
			t.Errorf("docs/cli/%s belongs to no command, run make docs", name)
		}
	}
}

// Each command has a man page, and generating it twice gives the same bytes.
func TestDocs_ManPages(t *testing.T) {
	dir := *man
	if dir == "" {
		dir = t.TempDir()
	}
	root, commands := documented()
	epoch, err := sourceDate()
	if err != nil {
		t.Fatal(err)
	}
	header := &doc.GenManHeader{Section: "1", Date: &epoch, Source: "coordinator", Manual: "coordinator"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range commands {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		want := fmt.Sprintf("\"%s\"", epoch.Format("Jan 2006"))
		if !strings.Contains(string(page), want) || !strings.Contains(string(page), cmd.Short) {
			t.Errorf("%s has no date %s or does not contain %q:\n%.300s", name, want, cmd.Short, page)
		}
	}
}

// sourceDate is the time that the man pages carry.
func sourceDate() (time.Time, error) {
	given := os.Getenv("SOURCE_DATE_EPOCH")
	if given == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(given, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

func names(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, e := range entries {
		found[e.Name()] = true
	}
	return found
}
