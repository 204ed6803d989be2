package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// docs/coordinator.yaml is the output of "config example": it has every key and its
// meaning.
func TestExample_IsTheDocumentedOne(t *testing.T) {
	text, err := os.ReadFile("../../docs/coordinator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != exampleSettings(new(runConfig).settings()) {
		t.Error("docs/coordinator.yaml is out of date: go run ./cmd/coordinator config example > docs/coordinator.yaml")
	}
}

// The example sets nothing. With the comment removed from every key that has a default, it
// sets those keys to their defaults. The others have no value.
func TestExample_SetsTheDefaults(t *testing.T) {
	text := exampleSettings(new(runConfig).settings())
	settings, err := settled(t, "--config", writeSettings(t, text))
	if err != nil {
		t.Fatal(err)
	}
	settings.VisitAll(func(f *pflag.Flag) {
		if originOf(f).Kind == originFile {
			t.Errorf("%s is set", f.Name)
		}
	})
	if _, err = settled(t, "--config", writeSettings(t, regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(text, "$1"))); err == nil {
		t.Error("keys without a value pass")
	}
	text = regexp.MustCompile(`(?m)^#([a-z-]+: .)`).ReplaceAllString(text, "$1")
	if settings, err = settled(t, "--config", writeSettings(t, text)); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(settings) {
		f := settings.Lookup(key)
		from := originFile
		if yamlDefault(f) == "" {
			from = originDefault
		}
		if originOf(f).Kind != from || f.Value.String() != f.DefValue {
			t.Errorf("%s is %q from %s, want %q from the file", key, f.Value, originOf(f), f.DefValue)
		}
		if strings.TrimSpace(f.Usage) == "" {
			t.Errorf("%s has no description", key)
		}
	}
}

// A node can start with each settings file of the documentation.
func TestDocumentation_FilesOfSettings(t *testing.T) {
	text, err := os.ReadFile("../../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("no file in the documentation")
	}
	for _, block := range blocks {
		var cfg runConfig
		cfg.file = writeSettings(t, block[1])
		if _, err := cfg.resolve(cfg.settings()); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
}

// "config show" and "config validate" have exactly the flags of "run".
func TestConfig_TakesTheFlagsOfRun(t *testing.T) {
	root := newRoot(streams{})
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"show", "validate"} {
		cmd, _, err := root.Find([]string{"config", name})
		if err != nil {
			t.Fatal(err)
		}
		run.Flags().VisitAll(func(f *pflag.Flag) {
			if cmd.Flags().Lookup(f.Name) == nil {
				t.Errorf("config %s lacks --%s", name, f.Name)
			}
		})
	}
}
