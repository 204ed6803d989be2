package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The README's table of flags matches the command, including defaults.
func TestReadme_FlagsOfRun(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1)
	documented := make(map[string]string)
	for _, row := range rows {
		documented[row[1]] = strings.Trim(row[2], "`")
	}
	var cfg runConfig
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	cfg.flags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		told, ok := documented[f.Name]
		if !ok {
			t.Errorf("--%s is not in the README", f.Name)
		}
		if f.DefValue != "" && f.DefValue != "[]" && told != f.DefValue {
			t.Errorf("--%s is %s by default, the README says %s", f.Name, f.DefValue, told)
		}
		delete(documented, f.Name)
	})
	for name := range documented {
		t.Errorf("the README lists --%s, which run does not have", name)
	}
}
