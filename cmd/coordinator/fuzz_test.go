package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// given are the settings that differ from their defaults.
func given(settings *pflag.FlagSet) (all []string) {
	settings.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			values, _ := valueOf(f)
			all = append(all, fmt.Sprintf("%s=%q from %s", f.Name, values, originOf(f)))
		}
	})
	return all
}

// A settings file is accepted, or refused with the line of every mistake; it never crashes
// the program. The result does not depend on earlier settings, and a file never sets what
// only a flag may set.
func FuzzSettingsFile(f *testing.F) {
	for _, text := range []string{
		"mode: hot_backup\nplane: on\nendpoints: [a, \"b,c\"]\nlease-ttl: 6s\npriority: -1\n",
		"# nothing\n", "mode: &m auto\nplane: *m\n", "mode: auto\nmode: auto\n", "persist: clean\nconfig: x\n",
		"mode: {a: b}\n", "mode: null\n", "- a\n", "mode: auto\n---\nmode: auto\n", "a: &a [*a]\n", "\t", "mode: !!binary x\n",
	} {
		f.Add([]byte(text))
	}
	placed := regexp.MustCompile(`^f\.yaml(:\d+)?: `)
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second runConfig
		settings, again := first.settings(), second.settings()
		err := parseSettings("f.yaml", text, settings)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if strings.HasPrefix(line, "f.yaml") && !placed.MatchString(line) {
					t.Errorf("no line number in %q", line)
				}
			}
			if !placed.MatchString(err.Error()) {
				t.Errorf("no line number in %q", err)
			}
			return
		}
		if settings.Changed(flagOnly) || settings.Changed(fileFlag) {
			t.Errorf("%q sets what a file must not: %v", text, given(settings))
		}
		if err := parseSettings("f.yaml", text, again); err != nil || !slices.Equal(given(settings), given(again)) {
			t.Errorf("%q is %v the first time, then %v, %v", text, given(settings), given(again), err)
		}
	})
}
