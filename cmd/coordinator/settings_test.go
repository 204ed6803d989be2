package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// writeSettings writes a settings file and returns its name.
func writeSettings(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// settled returns the settings that "run" would have with these arguments.
func settled(t *testing.T, args ...string) (*pflag.FlagSet, error) {
	t.Helper()
	var cfg runConfig
	settings := cfg.settings()
	cmd := &cobra.Command{Use: "run"}
	cmd.Flags().AddFlagSet(settings)
	if err := cmd.Flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(cmd); err != nil {
		return nil, err
	}
	return settings, fromFile(cfg.file, settings)
}

// sample returns the n-th value for a flag, and how it is shown.
func sample(t *testing.T, f *pflag.Flag, n int) string {
	t.Helper()
	switch f.Value.Type() {
	case "int":
		return fmt.Sprint(n + 10)
	case "duration":
		return fmt.Sprintf("%ds", n+20)
	case "bool":
		return fmt.Sprint(n%2 == 0 == (f.DefValue == "false"))
	case "string", "stringSlice":
		return fmt.Sprintf("v%d", n)
	default:
		t.Fatalf("no sample of a %s", f.Value.Type())
		return ""
	}
}

// Every setting can be given in three ways: a flag takes precedence over the environment,
// and the environment over the file. Each value knows its origin.
func TestSettings_Precedence(t *testing.T) {
	checked := 0
	for _, key := range keysOf(new(runConfig).settings()) {
		t.Run(key, func(t *testing.T) {
			f := new(runConfig).settings().Lookup(key)
			file := writeSettings(t, "# settings\n"+key+": "+sample(t, f, 0)+"\n")
			at := origin{originFile, file + ":2"}
			wantSetting(t, key, f.DefValue, origin{Kind: originDefault})
			wantSetting(t, key, sample(t, f, 0), at, "--config", file)
			t.Setenv(envName(key), sample(t, f, 1))
			wantSetting(t, key, sample(t, f, 1), origin{originEnvironment, envName(key)}, "--config", file)
			wantSetting(t, key, sample(t, f, 2), origin{originFlag, "--" + key}, "--config", file, "--"+key+"="+sample(t, f, 2))
		})
		checked++
	}
	if checked < 15 {
		t.Errorf("checked only %d settings", checked)
	}
}

func wantSetting(t *testing.T, key, value string, from origin, args ...string) {
	t.Helper()
	settings, err := settled(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	f := settings.Lookup(key)
	got, list := valueOf(f)
	if list && value == "[]" {
		value = ""
	}
	if strings.Join(got, ",") != value || originOf(f) != from {
		t.Errorf("%v: %s is %q from %s, want %q from %s", args, key, got, originOf(f), value, from)
	}
}

// The file is named by a flag or by the environment.
func TestSettings_FileNamedByTheEnvironment(t *testing.T) {
	t.Setenv("COORDINATOR_CONFIG", writeSettings(t, "plane: p\n"))
	settings, err := settled(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := settings.Lookup("plane").Value.String(); got != "p" {
		t.Errorf("plane = %q, want p", got)
	}
	t.Setenv("COORDINATOR_CONFIG", "nowhere.yaml")
	if _, err = settled(t); err == nil || !strings.Contains(err.Error(), "COORDINATOR_CONFIG") || exitCode(err) != exitUsage {
		t.Errorf("error = %v, want one that names the variable", err)
	}
}

// What a file may contain, and what it means.
func TestFile_Values(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"# nothing\n":               {},
		"---\n":                     {},
		"plane: on":                 {"plane": "on"},
		"plane: 007":                {"plane": "007"},
		`node-id: "a"`:              {"node-id": "a"},
		"priority: -3":              {"priority": "-3"},
		`priority: "4"`:             {"priority": "4"},
		"lease-ttl: 1m":             {"lease-ttl": "1m0s"},
		"endpoints: [h:1, h:2]":     {"endpoints": "[h:1,h:2]"},
		"endpoints:\n- h:1\n- h:2":  {"endpoints": "[h:1,h:2]"},
		"endpoints: h:1,h:2":        {"endpoints": "[h:1,h:2]"},
		`{"plane": "p"}`:            {"plane": "p"},
		"plane: &p p\nnode-id: *p":  {"plane": "p", "node-id": "p"},
		"plane: >\n  p":             {"plane": "p"},
		"listen: 0.0.0.0:7400 # ok": {"listen": "0.0.0.0:7400"},
	} {
		settings, err := settled(t, "--config", writeSettings(t, text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := make(map[string]string)
		settings.VisitAll(func(f *pflag.Flag) {
			if originOf(f).Kind == originFile {
				got[f.Name] = f.Value.String()
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", text, diff)
		}
	}
}

// Nothing in a file is guessed: each mistake is reported with its line, its key and what to
// do.
func TestFile_Mistakes(t *testing.T) {
	for text, want := range map[string][]string{
		"node_id: a":                       {`:1: node_id: unknown key, did you mean node-id\?`},
		"nodeId: a":                        {`:1: nodeId: unknown key, did you mean node-id\?`},
		"colour: red":                      {`:1: colour: unknown key \(coordinator config example shows all\)`},
		"help: true":                       {`:1: help: unknown key`},
		"<<: {plane: p}":                   {`:1: <<: unknown key`},
		"\nplane: a\nmode: auto\nplane: b": {`:4: plane: the key is given twice, first in line 2: keep one`},
		"priority: high":                   {`:1: priority: "high": use a whole number`},
		"priority: 1.5":                    {`:1: priority: "1.5": use a whole number`},
		"priority: [1]":                    {`:1: priority: it takes one value, not a list`},
		"lease-ttl: 6":                     {`:1: lease-ttl: "6": use a time such as 6s or 500ms`},
		"mode: {auto: true}":               {`:1: mode: .*a group of keys: settings are not nested`},
		"endpoints: [[a]]":                 {`:1: endpoints: it takes a list of texts`},
		"endpoints: [{a: b}]":              {`:1: endpoints: it takes a list of texts`},
		"endpoints: [a, ~]":                {`:1: endpoints: there is no value`},
		"endpoints: 'a\"b'":                {`:1: endpoints: "a\\"b": use a list`},
		"plane:":                           {`:1: plane: there is no value: take the line out`},
		"plane: null":                      {`:1: plane: there is no value`},
		"":                                 {`c.yaml is empty`},
		" \n\n":                            {`c.yaml is empty`},
		`plane: ""`:                        {`:1: plane: it is empty`},
		`plane: " "`:                       {`:1: plane: it is empty`},
		`auth-token-file: ""`:              {`:1: auth-token-file: it is empty`},
		"endpoints: []":                    {`:1: endpoints: it is empty`},
		`endpoints: ""`:                    {`:1: endpoints: it is empty`},
		`endpoints: ["h:1", ""]`:           {`:1: endpoints: it is empty`},
		"endpoints: h:1, h:2":              {`:1: endpoints: "h:1, h:2": use a list.*without spaces`},
		`endpoints: ["h:1,h:2"]`:           {`:1: endpoints: .*use a list`},
		"endpoints: h:1,":                  {`:1: endpoints: "h:1,": use a list`},
		"persist: clean":                   {`:1: persist: .*never taken from a file.*give --persist as a flag`},
		"config: other.yaml":               {`:1: config: a settings file cannot name another`},
		"- mode: auto":                     {`:1: write settings as lines of "key: value"`},
		"auto":                             {`:1: write settings as lines of "key: value"`},
		"plane: p\n---\nplane: q":          {`:2: a second document begins here`},
		"plane: [a\nmode: auto":            {`c.yaml:\d: this is not YAML`},
		"plane: a: b":                      {`c.yaml:1: this is not YAML`},
		"plane: *p":                        {`c.yaml: this is not YAML`},
		"\x00":                             {`c.yaml: this is not YAML`},
		"plane: p\nmoed: auto\npriority: x\n": {
			`:2: moed: unknown key, did you mean mode\?`, `:3: priority: "x"`,
		},
	} {
		_, err := settled(t, "--config", writeSettings(t, text))
		if err == nil || exitCode(err) != exitUsage {
			t.Errorf("%q: error = %v, want wrong usage", text, err)
			continue
		}
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(err.Error()) {
				t.Errorf("%q: error = %v, want %s", text, err, w)
			}
		}
	}
}

// A mistake in the file is reported even if a flag takes precedence over the value.
func TestFile_MistakesThatDoNotCountYet(t *testing.T) {
	file := writeSettings(t, "priority: high\n")
	if _, err := settled(t, "--priority", "5", "--config", file); err == nil {
		t.Error("a wrong value passes because a flag takes precedence")
	}
	file = writeSettings(t, "priority: 3\nendpoints: [a, b]\n")
	settings, err := settled(t, "--priority", "5", "--endpoints", "c", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if got := settings.Lookup("priority").Value.String() + settings.Lookup("endpoints").Value.String(); got != "5[c]" {
		t.Errorf("priority and endpoints are %s, want 5[c]", got)
	}
}

func TestFile_Unreadable(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none.yaml")} {
		_, err := settled(t, "--config", path)
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--config") {
			t.Errorf("%s: error = %v, want wrong usage that names it", path, err)
		}
	}
}

func TestEnvironment_Mistakes(t *testing.T) {
	t.Setenv("COORDINATOR_PRIORITY", "high")
	t.Setenv("COORDINATOR_LEASE_TTL", "6")
	_, err := settled(t)
	for _, want := range []string{`COORDINATOR_PRIORITY="high": use a whole number`, `COORDINATOR_LEASE_TTL="6": use a time`} {
		if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != exitUsage {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

// Unknown variables that look like settings cause warnings, unless Kubernetes set them.
func TestEnvironment_Strays(t *testing.T) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) {
			t.Setenv(name, "") // so that it is put back
			os.Unsetenv(name)
		}
	}
	for _, name := range []string{
		"COORDINATOR_NODEID", "COORDINATOR_PERSIST", "COORDINATOR_COLOUR", // not settings
		"COORDINATOR_NODE_ID", "COORDINATOR_SERVER", "COORDINATOR_CONFIG",
		"COORDINATOR_SERVICE_HOST", "COORDINATOR_SERVICE_PORT", "COORDINATOR_SERVICE_PORT_HTTP", "COORDINATOR_PORT",
		"COORDINATOR_PORT_7400_TCP", "COORDINATOR_PORT_7400_TCP_ADDR", "COORDINATOR_PORT_7400_TCP_PROTO",
	} {
		t.Setenv(name, "x")
	}
	got := unknownVariables(newRoot(streams{}))
	want := []string{
		"COORDINATOR_COLOUR is ignored: there is no such setting",
		"COORDINATOR_NODEID is ignored: there is no such setting, did you mean COORDINATOR_NODE_ID?",
		"COORDINATOR_PERSIST is ignored: what happens to the state is never taken from the environment; give --persist as a flag",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got)\n%s", diff)
	}
}

func TestMasked(t *testing.T) {
	for text, want := range map[string]string{
		"http://root:pw@h:2379":                   "http://root:" + hidden + "@h:2379",
		"root:pw@h:2379":                          "root:" + hidden + "@h:2379",
		"https://root:p@s/w:rd@h":                 "https://root:" + hidden + "@h",
		"https://:pw@h":                           "https://:" + hidden + "@h",
		`dial "http://u:pw@h": refused`:           `dial "http://u:` + hidden + `@h": refused`,
		"http://h:2379":                           "http://h:2379",
		"http://root@h:2379":                      "http://root@h:2379",
		"[::1]:7400":                              "[::1]:7400",
		"listen 127.0.0.1:7400: ask ops@site.org": "listen 127.0.0.1:7400: ask ops@site.org",
	} {
		if got := masked(text); got != want {
			t.Errorf("masked(%q) = %q, want %q", text, got, want)
		}
	}
}

// A flag that is marked as secret is never shown; lists are masked item by item, and
// showing a value does not change it.
func TestShown(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("token", "", "")
	flags.StringSlice("urls", nil, "")
	flags.String("password-file", "", "")
	if err := flags.SetAnnotation("token", secretKey, nil); err != nil {
		t.Fatal(err)
	}
	args := []string{"--token=t0ken", "--urls=http://u:pw@a,http://b", "--password-file=/run/secrets/p"}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"token": {hidden}, "urls": {"http://u:" + hidden + "@a", "http://b"}, "password-file": {"/run/secrets/p"},
	} {
		if got, _ := shown(flags.Lookup(name)); !slices.Equal(got, want) {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
	if got, _ := valueOf(flags.Lookup("urls")); got[0] != "http://u:pw@a" {
		t.Errorf("urls are %q after they were shown", got)
	}
	if err := badValue(flags.Lookup("token"), errors.New("t0ken is bad")); strings.Contains(err.Error(), "t0ken") {
		t.Errorf("error %q shows a secret", err)
	}
}

// Secrets are given as files, never as values that others can see in the list of processes.
func TestFlags_NoneTakesASecret(t *testing.T) {
	secret := regexp.MustCompile(`password|token|secret|credential`)
	for _, cmd := range allCommands(newRoot(streams{in: nil, out: io.Discard, err: io.Discard})) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if secret.MatchString(f.Name) && !strings.HasSuffix(f.Name, "-file") {
				t.Errorf("%s --%s: take the name of a file", cmd.CommandPath(), f.Name)
			}
		})
	}
}
