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

// This file tells where the value of a flag comes from. A setting is a flag, and
// nothing else: the environment and the file of settings only stand for flags that
// were not given, so each flag that is declared is a setting in all three ways.

// envPrefix begins the names of environment variables that stand for flags.
const envPrefix = "COORDINATOR_"

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const (
	// flagOnly is a daemon's flag that nothing else stands for: it can delete
	// everything, and a variable or a file outlives the moment it was meant for.
	flagOnly = "persist"
	// fileFlag names the file of settings.
	fileFlag = "config"
	helpFlag = "help"
)

// Keys of what is noted of a flag in its annotations.
const (
	// originKey holds the kind of a value's origin and its place, where that is not
	// the command line.
	originKey = "coordinator_origin"
	// secretKey marks a flag whose value is not to be shown. Secrets are given as the
	// names of files, which are no secrets; this is for what may hold one all the same.
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

// String tells it to a person.
func (o origin) String() string { return strings.TrimSpace(o.Kind + " " + o.Place) }

// originOf tells where the value of a flag came from.
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

// whereFrom tells of the settings that a complaint is about where they came from, if
// that was not the command line: who complains knows only what they are.
func whereFrom(flags *pflag.FlagSet, complaint error) string {
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

// note notes that a flag has its value from elsewhere than the command line.
func (o origin) note(f *pflag.Flag) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[originKey] = []string{o.Kind, o.Place}
	f.Changed = true
}

// valueOf is the value of a flag: one text, or for a list any number of them.
func valueOf(f *pflag.Flag) (values []string, list bool) {
	if l, ok := f.Value.(pflag.SliceValue); ok {
		return slices.Clone(l.GetSlice()), true
	}
	return []string{f.Value.String()}, false
}

// assign gives a flag a value as valueOf returns it. A list can be one text too, with
// commas.
func assign(f *pflag.Flag, values []string, list bool) error {
	if l, ok := f.Value.(pflag.SliceValue); ok && list {
		return l.Replace(values)
	}
	return f.Value.Set(values[0])
}

// errEmpty is what is wrong with a value that is there and says nothing: where it comes
// from somebody has left something out, and a default in its place could be another store
// or an API that asks nobody who he is.
var errEmpty = errors.New("it is empty: give it a value, or leave it out to have the default")

// isEmpty reports whether a value of a flag says nothing.
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

// badValue says what a flag takes, in the place of what a parser says of it.
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
		return fmt.Errorf("it is no %s", kind)
	default:
		return err
	}
}

// fromEnvironment sets the flags that were not given from the environment.
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

// hasVariable tells whether the environment stands for a flag: for all of a daemon's
// but one, and of the other commands' for those that say whom to ask. A variable must
// not change what a command does to the plane.
func hasVariable(cmd *cobra.Command, f *pflag.Flag) bool {
	if f.Name == flagOnly || f.Name == helpFlag {
		return false
	}
	daemon := cmd.Name() == "store" || cmd.Flags().Lookup(fileFlag) != nil
	return daemon || slices.Contains(askFlags, f.Name)
}

// serviceVariable is what Kubernetes tells every container of a Service that
// happens to be named like this program.
var serviceVariable = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$`)

// strayVariables tells of variables in the environment that look like settings and
// are none. They are no errors, since others choose the names of variables too.
func strayVariables(root *cobra.Command) []string {
	var known []string
	for _, cmd := range allCommands(root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if hasVariable(cmd, f) {
				known = append(known, envName(f.Name))
			}
		})
	}
	var stray []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case name == envName(flagOnly):
			stray = append(stray, fmt.Sprintf("%s is ignored: what becomes of the state is never taken from the environment; give --%s as a flag", name, flagOnly))
		case strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) && !serviceVariable.MatchString(name):
			stray = append(stray, fmt.Sprintf("%s is ignored: no setting is named like that%s", name, likely(name, known)))
		}
	}
	slices.Sort(stray)
	return stray
}

// likely asks whether one of the known names was meant, or says nothing. What is
// near enough is cobra's to say, as it is for commands.
func likely(name string, known []string) string {
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

// unknownFlag adds to the error about a flag which one was probably meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return fmt.Errorf("%w%s", err, likely("--"+missing.GetSpecifiedName(), known))
}

const hidden = "********"

// userinfo finds a user and a password in a URL, whole or within a text. A
// password may hold anything that a person would forget to escape.
var userinfo = regexp.MustCompile(`((?:\w[\w+.-]*://)?[^\s/:@"'=]*):(?:[^\s"'/]|/[^\s"'/])[^\s"']*@`)

// masked is a text without the passwords of the URLs in it.
func masked(text string) string { return userinfo.ReplaceAllString(text, "$1:"+hidden+"@") }

// shownAs is a value of a flag as it may be shown.
func shownAs(f *pflag.Flag, value string) string {
	if _, secret := f.Annotations[secretKey]; secret && value != "" {
		return hidden
	}
	return masked(value)
}

// shown is the value that a flag has, as it may be shown.
func shown(f *pflag.Flag) (values []string, list bool) {
	values, list = valueOf(f)
	for i, v := range values {
		values[i] = shownAs(f, v)
	}
	return values, list
}
