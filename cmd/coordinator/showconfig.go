package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// This file holds the commands about a node's settings. They take every flag of
// "run" and come to the same settings by the same way.

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

// settingsView is what "config show" prints.
type settingsView struct {
	Settings []setting `json:"settings"`
}

func newConfigShow(s streams) *cobra.Command {
	var cfg runConfig
	o := &operator{streams: s}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every setting and where its value comes from",
		Long: `Print every setting that "coordinator run" would have with the same flags, the same
environment and the same file, and where its value comes from: the default, a line
of the file, a variable of the environment, or a flag. Secrets are not shown; nor are
passwords in URLs.`,
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
		warnOfStrays(s, cmd.Root())
		if err := cfg.nameNode(); err != nil {
			return err
		}
		return o.printSettings(settings)
	}
	return cmd
}

// printSettings prints settings in the order they are declared in.
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
		Short: "Tell whether a node could start with these settings",
		Long: `Look at the settings as "coordinator run" would with the same flags, the same
environment and the same file, and start nothing. All mistakes are told at once,
with exit code 2.`,
		Example: `  coordinator config validate --config /etc/coordinator.yaml`,
		Args:    cobra.NoArgs,
	}
	settings := cfg.settings()
	cmd.Flags().AddFlagSet(settings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := cfg.resolve(settings); err != nil {
			return err
		}
		warnOfStrays(s, cmd.Root())
		_, err := fmt.Fprintln(s.out, "the settings are valid")
		return err
	}
	return cmd
}

// warnOfStrays tells of variables that were probably meant to be settings.
func warnOfStrays(s streams, root *cobra.Command) {
	for _, stray := range strayVariables(root) {
		fmt.Fprintf(forPeople{s.err}, "Warning: %s\n", stray)
	}
}

func newConfigExample(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a file of settings with every key, its meaning and its default",
		Example: `  coordinator config example > coordinator.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(s.out, exampleSettings(new(runConfig).settings()))
			return err
		},
	}
}

// exampleSettings is a file of settings that says of each key what it does, and
// sets none.
func exampleSettings(settings *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The settings of a node: coordinator run --config FILE
#
# What is left out, or commented out as everything is here, has its default. Each
# setting can be given as a flag too, --node-id for node-id, and as a variable of the
# environment, %s; a flag wins over the environment, and that over this
# file. Keys that are no settings are refused, and so are keys without a value. Secrets
# are not written here: the settings name the files that hold them.
#
# coordinator config validate --config FILE tells whether a node could start with it,
# coordinator config show --config FILE what comes from where.
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

// yamlDefault is a flag's default as it would be written in a file; empty for one that
// cannot be written down.
func yamlDefault(f *pflag.Flag) string {
	if f.DefValue == "[]" {
		return ""
	}
	return f.DefValue
}

// wrap breaks a text into lines of at most width bytes, where it can.
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
