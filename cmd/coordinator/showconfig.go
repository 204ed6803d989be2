// The commands about a node's settings. They take every flag of "run" and determine the
// settings in the same way.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newConfig(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show and check the settings that a node would run with",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigShow(s), newConfigValidate(s), newConfigExample(s))
	return cmd
}

// setting is a setting as it is shown.
type setting struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	origin
}

// settingsView is the output of "config show".
type settingsView struct {
	Settings []setting `json:"settings"`
}

func newConfigShow(s streams) *cobra.Command {
	var cfg runConfig
	o := &operator{streams: s}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every setting and where its value comes from",
		Long: `Print every setting that "coordinator run" would have with the same flags, environment
and file, and where its value comes from: the default, a line of the file, an
environment variable, or a flag. Secrets and passwords in URLs are not shown.`,
		Example: `  coordinator config show --config /etc/coordinator.yaml
  coordinator config show --config /etc/coordinator.yaml --mode hot_backup -o json`,
		Args: cobra.NoArgs,
	}
	settings := cfg.settings()
	cmd.Flags().AddFlagSet(settings)
	o.outputFlag(cmd, "table, json or yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.checkOutput(); err != nil {
			return err
		}
		if err := fromFile(cfg.file, settings); err != nil {
			return err
		}
		warnOfVariables(s, cmd.Root())
		if err := cfg.nameNode(); err != nil {
			return err
		}
		return o.printSettings(settings)
	}
	return cmd
}

// printSettings prints the settings in the order of their declaration.
func (o *operator) printSettings(settings *pflag.FlagSet) error {
	var view settingsView
	rows := [][]string{{"SETTING", "VALUE", "ORIGIN"}}
	settings.VisitAll(func(f *pflag.Flag) {
		values, list := shown(f)
		text := strings.Join(values, ",")
		at := setting{Name: f.Name, Value: text, origin: originOf(f)}
		switch number := json.Number(text); {
		case list:
			at.Value = append([]string{}, values...)
		case f.Value.Type() == "int":
			at.Value = number
		case f.Value.Type() == "bool":
			at.Value = text == "true"
		}
		view.Settings = append(view.Settings, at)
		rows = append(rows, []string{f.Name, orDash(text), at.origin.String()})
	})
	body, err := json.Marshal(view)
	if err != nil {
		return fmt.Errorf("encode settings: %w", err)
	}
	return o.print(body, func(w io.Writer) error { return columns(w, rows...) })
}

func newConfigValidate(s streams) *cobra.Command {
	var cfg runConfig
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check whether a node could start with these settings",
		Long: `Check the settings as "coordinator run" would with the same flags, environment and
file, and start nothing. All mistakes are reported at once, with exit code 2.`,
		Example: `  coordinator config validate --config /etc/coordinator.yaml`,
		Args:    cobra.NoArgs,
	}
	settings := cfg.settings()
	cmd.Flags().AddFlagSet(settings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := cfg.resolve(settings); err != nil {
			return err
		}
		warnOfVariables(s, cmd.Root())
		_, err := fmt.Fprintln(s.out, "the settings are valid")
		return err
	}
	return cmd
}

// warnOfVariables warns about variables that look like settings but are not.
func warnOfVariables(s streams, root *cobra.Command) {
	for _, warning := range unknownVariables(root) {
		fmt.Fprintf(terminalWriter{s.err}, "Warning: %s\n", warning)
	}
}

func newConfigExample(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a settings file with every key, its meaning and its default",
		Example: `  coordinator config example > coordinator.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(s.out, exampleSettings(new(runConfig).settings()))
			return err
		},
	}
}

// exampleSettings is a settings file that describes every key and sets none.
func exampleSettings(settings *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The settings of a node: coordinator run --config FILE
#
# A key that is missing, or commented out as all are here, has its default. Each setting
# can also be given as a flag, --node-id for node-id, and as an environment variable,
# %s; a flag takes precedence over the environment, and the
# environment over this file. Unknown keys and keys without a value are refused. Secrets
# are not written here: the settings name the files that contain them.
#
# coordinator config validate --config FILE checks whether a node could start with it,
# coordinator config show --config FILE shows where each value comes from.
`, envName("node-id"))
	for _, key := range keysOf(settings) {
		f := settings.Lookup(key)
		_, usage := pflag.UnquoteUsage(f)
		b.WriteString("\n")
		for _, line := range wrap(usage, 86) {
			fmt.Fprintf(&b, "# %s\n", line)
		}
		fmt.Fprintf(&b, "%s\n", strings.TrimSpace(fmt.Sprintf("#%s: %s", key, yamlDefault(f))))
	}
	return b.String()
}

// yamlDefault is a flag's default as it would be written in a file; empty if it cannot be
// written.
func yamlDefault(f *pflag.Flag) string {
	if f.DefValue == "[]" {
		return ""
	}
	return f.DefValue
}

// wrap breaks a text into lines of at most width bytes, where possible.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
