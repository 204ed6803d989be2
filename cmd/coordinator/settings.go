// Where the value of a flag comes from. Every setting is a flag; the environment and the
// settings file only supply values for flags that were not given, so each declared flag can
// be set in all three ways.

package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the names of environment variables that set flags.
const envPrefix = "COORDINATOR_"

// envName is the environment variable for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const (
	// flagOnly is the flag of run that can only be given as a flag: it can delete
	// everything, and a variable or a file outlasts the moment for which it was set.
	flagOnly = "persist"
	// fileFlag names the settings file.
	fileFlag = "config"
	helpFlag = "help"
)

// Keys of the annotations of a flag.
const (
	// originKey holds the kind and the place of a value's origin, if that is not the
	// command line.
	originKey = "coordinator_origin"
	// secretKey marks a flag whose value must not be shown. Secrets are given as names of
	// files, which are not secret; this is a safeguard for others.
	secretKey = "coordinator_secret"
)

// origin is where the value of a flag came from.
type origin struct {
	Kind  string `json:"origin"`          // default, file, environment or flag
	Place string `json:"place,omitempty"` // where in it
}

const (
	originDefault     = "default"
	originFile        = "file"
	originEnvironment = "environment"
	originFlag        = "flag"
)

// String formats it for people.
func (o origin) String() string { return strings.TrimSpace(o.Kind + " " + o.Place) }

// originOf returns where the value of a flag came from.
func originOf(f *pflag.Flag) origin {
	switch note := f.Annotations[originKey]; {
	case len(note) == 2:
		return origin{note[0], note[1]}
	case f.Changed:
		return origin{originFlag, "--" + f.Name}
	default:
		return origin{Kind: originDefault}
	}
}

// originHint lists the settings that an error names and that were not given on the command
// line, with their origins: the error itself does not know them.
func originHint(flags *pflag.FlagSet, complaint error) string {
	var usage usageError
	if !errors.As(complaint, &usage) {
		return ""
	}
	said := strings.ToLower(complaint.Error())
	var from []string
	flags.VisitAll(func(f *pflag.Flag) {
		o := originOf(f)
		about := strings.Contains(said, f.Name) || strings.Contains(said, strings.ReplaceAll(f.Name, "-", " ")) ||
			strings.Contains(said, strings.ToLower(strconv.Quote(f.Value.String())))
		if about && (o.Kind == originFile || o.Kind == originEnvironment) {
			from = append(from, f.Name+" from "+o.String())
		}
	})
	if len(from) == 0 {
		return ""
	}
	return "\nnot given as a flag: " + strings.Join(from, ", ")
}

// note records that a flag has its value from elsewhere than the command line.
func (o origin) note(f *pflag.Flag) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[originKey] = []string{o.Kind, o.Place}
	f.Changed = true
}

// valueOf is the value of a flag: one text or, for a list, any number of them.
func valueOf(f *pflag.Flag) (values []string, list bool) {
	if l, ok := f.Value.(pflag.SliceValue); ok {
		return slices.Clone(l.GetSlice()), true
	}
	return []string{f.Value.String()}, false
}

// assign gives a flag a value as returned by valueOf. A list can also be one text with
// commas.
func assign(f *pflag.Flag, values []string, list bool) error {
	if l, ok := f.Value.(pflag.SliceValue); ok && list {
		return l.Replace(values)
	}
	return f.Value.Set(values[0])
}

// errEmpty is returned for an empty value. Something was probably left out by mistake, and
// the default in its place could mean another store or an API without access control.
var errEmpty = errors.New("it is empty: give it a value, or leave it out to use the default")

// isEmpty reports whether a value of a flag is empty.
func isEmpty(f *pflag.Flag, value string) bool {
	return strings.TrimSpace(value) == "" && (f.Value.Type() == "string" || f.Value.Type() == "stringSlice" || f.Value.Type() == "stringArray")
}

// checkGiven refuses flags that were given empty values.
func checkGiven(flags *pflag.FlagSet) error {
	var wrong error
	flags.Visit(func(f *pflag.Flag) {
		values, _ := valueOf(f)
		if slices.ContainsFunc(values, func(v string) bool { return isEmpty(f, v) }) {
			wrong = errors.Join(wrong, fmt.Errorf("--%s: %w", f.Name, errEmpty))
		}
	})
	if wrong != nil {
		return usageError{wrong}
	}
	return nil
}

// badValue says what a flag takes; it replaces the parser's message.
func badValue(f *pflag.Flag, err error) error {
	_, secret := f.Annotations[secretKey]
	switch kind := f.Value.Type(); {
	case kind == "int" || kind == "int64":
		return errors.New("use a whole number")
	case kind == "bool":
		return errors.New("use true or false")
	case kind == "duration":
		return errors.New("use a time such as 6s or 500ms")
	case kind == "stringSlice":
		return errors.New("use a list: [a, b], or a,b without spaces and quotes")
	case secret:
		return fmt.Errorf("not a valid %s", kind)
	default:
		return err
	}
}

// fromEnvironment sets flags that were not given from the environment.
func fromEnvironment(cmd *cobra.Command) error {
	var wrong error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, ok := os.LookupEnv(envName(f.Name))
		if f.Changed || !ok || !hasVariable(cmd, f) {
			return
		}
		if isEmpty(f, value) {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", envName(f.Name), errEmpty))
			return
		}
		if err := f.Value.Set(value); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s=%q: %w", envName(f.Name), shownAs(f, value), badValue(f, err)))
			return
		}
		origin{originEnvironment, envName(f.Name)}.note(f)
	})
	if wrong != nil {
		return usageError{wrong}
	}
	return nil
}

// hasVariable reports whether a flag can be set by the environment: all flags of run and
// store except one and, of the other commands, those that say which node to ask. A variable
// must not change what a command does to the plane.
func hasVariable(cmd *cobra.Command, f *pflag.Flag) bool {
	if f.Name == flagOnly || f.Name == helpFlag {
		return false
	}
	daemon := cmd.Name() == "store" || cmd.Flags().Lookup(fileFlag) != nil
	return daemon || slices.Contains(askFlags, f.Name)
}

// serviceVariable matches the variables that Kubernetes sets in every container if a
// Service has the name of this program.
var serviceVariable = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$`)

// unknownVariables returns warnings about environment variables that look like settings but
// are not. They are not errors, since others choose names of variables too.
func unknownVariables(root *cobra.Command) []string {
	var known []string
	for _, cmd := range allCommands(root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if hasVariable(cmd, f) {
				known = append(known, envName(f.Name))
			}
		})
	}
	var warnings []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case name == envName(flagOnly):
			warnings = append(warnings, fmt.Sprintf("%s is ignored: what happens to the state is never taken from the environment; give --%s as a flag", name, flagOnly))
		case strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) && !serviceVariable.MatchString(name):
			warnings = append(warnings, fmt.Sprintf("%s is ignored: there is no such setting%s", name, didYouMean(name, known)))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// didYouMean suggests known names that are similar to name, or is empty. cobra decides what
// is similar, as it does for commands.
func didYouMean(name string, known []string) string {
	all := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, k := range slices.Compact(slices.Sorted(slices.Values(known))) {
		all.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	found := all.SuggestionsFor(name)
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf(", did you mean %s?", strings.Join(found[:min(len(found), 3)], " or "))
}

// unknownFlag adds a suggestion to the error about an unknown flag.
func unknownFlag(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return fmt.Errorf("%w%s", err, didYouMean("--"+missing.GetSpecifiedName(), known))
}

const hidden = "********"

// userinfo matches user and password in a URL, also within a text. A password may contain
// anything that people forget to escape.
var userinfo = regexp.MustCompile(`((?:\w[\w+.-]*://)?[^\s/:@"'=]*):(?:[^\s"'/]|/[^\s"'/])[^\s"']*@`)

// masked hides the passwords of all URLs in a text.
func masked(text string) string { return userinfo.ReplaceAllString(text, "$1:"+hidden+"@") }

// shownAs is a value of a flag with secrets hidden.
func shownAs(f *pflag.Flag, value string) string {
	if _, secret := f.Annotations[secretKey]; secret && value != "" {
		return hidden
	}
	return masked(value)
}

// shown is the current value of a flag with secrets hidden.
func shown(f *pflag.Flag) (values []string, list bool) {
	values, list = valueOf(f)
	for i, v := range values {
		values[i] = shownAs(f, v)
	}
	return values, list
}
