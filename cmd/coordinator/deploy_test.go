package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Each setting in the files for containers and service managers is one that the command
// has.
func TestDeploy_SettingsAreFlags(t *testing.T) {
	known := map[string]bool{"COORDINATOR_IMAGE": true} // used by the Compose file itself
	for _, cmd := range allCommands(newRoot(streams{})) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known[envName(f.Name)] = true })
	}
	files := []string{"../../Dockerfile", "../../docker-compose.yml"}
	err := filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var found int
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bCOORDINATOR_[A-Z_]*[A-Z]\b`).FindAllString(string(text), -1) {
			found++
			if !known[name] {
				t.Errorf("%s sets %s, which is no flag of any command", path, name)
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d settings", found)
	}
}

// systemd accepts the unit and rates its exposure as low.
func TestDeploy_SystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skipf("not run: %v", err)
	}
	text, err := os.ReadFile("../../deploy/systemd/coordinator.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// verify also checks that the program and the manual page exist.
	unit := strings.ReplaceAll(string(text), "/usr/local/bin/coordinator", self)
	unit = strings.ReplaceAll(unit, "Documentation=man:coordinator(1)\n", "")
	secrets, err := os.ReadFile("../../deploy/systemd/credentials.conf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "coordinator.service")
	if err := os.Mkdir(path+".d", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{path: unit, filepath.Join(path+".d", "credentials.conf"): string(secrets)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=15", path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: exposed more than 1.5 of 10: %v\n%s", err, out)
	}
}
