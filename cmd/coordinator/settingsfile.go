// Parses the YAML settings file.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// fromFile sets the flags that were given neither on the command line nor in the
// environment, from a settings file: YAML with one key for each flag. It reports all
// mistakes at once, each with its line, and guesses nothing.
func fromFile(path string, settings *pflag.FlagSet) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty: write settings into it, or leave it out to use the defaults", path)
	}
	if err != nil {
		return usageError{fmt.Errorf("settings file, named by %s: %w", originOf(settings.Lookup(fileFlag)), err)}
	}
	if err := parseSettings(path, text, settings); err != nil {
		return usageError{err}
	}
	return nil
}

// parseSettings sets flags from the text of a settings file.
func parseSettings(path string, text []byte, settings *pflag.FlagSet) error {
	entries, err := readEntries(path, text)
	if err != nil {
		return err
	}
	var wrong error
	lines := make(map[string]int)
	for _, e := range entries {
		if first, twice := lines[e.key]; twice {
			err = fmt.Errorf("the key is given twice, first in line %d: keep one", first)
		} else {
			lines[e.key] = e.line
			err = e.apply(path, settings)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s:%d: %s: %w", path, e.line, e.key, err))
		}
	}
	return wrong
}

// settingLine is one key of a settings file.
type settingLine struct {
	key   string
	line  int
	value *yaml.Node
}

// readEntries returns the keys of a settings file in order.
func readEntries(path string, text []byte) ([]settingLine, error) {
	var document, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	err := dec.Decode(&document)
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil // only comments
	case err != nil:
		return nil, notYAML(path, text, err)
	}
	top := document.Content[0]
	switch {
	case top.Tag == "!!null":
		return nil, nil
	case top.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%s:%d: write settings as lines of \"key: value\"", path, top.Line)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, notYAML(path, text, err)
		}
		return nil, fmt.Errorf("%s:%d: a second document begins here: keep all settings in one", path, more.Line)
	}
	var entries []settingLine
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		entries = append(entries, settingLine{key.Value, key.Line, value})
	}
	return entries, nil
}

// notYAML says where a text stops being YAML. The parser's line is accurate to a line or
// two.
func notYAML(path string, text []byte, err error) error {
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	line, what, placed := cutLine(said)
	if !placed {
		// The parser leaves out the line if it is the first; it names the line if another
		// precedes it.
		if _, _, first := cutLine(fmt.Sprint(yaml.Unmarshal(append([]byte("\n"), text...), new(yaml.Node)))); first {
			line, what, placed = "1", said, true
		}
	}
	if !placed {
		return fmt.Errorf("%s: this is not YAML: %s", path, said)
	}
	return fmt.Errorf("%s:%s: this is not YAML, here or nearby: %s", path, line, what)
}

// cutLine separates the line number from a message of the YAML parser, if it has one.
func cutLine(said string) (line, what string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(said, "yaml: "), "line ")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ": ")
}

// apply sets the flag that the key names, unless it has a value of higher precedence. The
// value is checked in any case: it may count one day.
func (e settingLine) apply(path string, settings *pflag.FlagSet) error {
	f := settings.Lookup(e.key)
	switch {
	case e.key == flagOnly:
		return fmt.Errorf("what happens to the state is never taken from a file, which outlasts the moment for which it was written: give --%s as a flag", flagOnly)
	case e.key == fileFlag:
		return errors.New("a settings file cannot name another: take this line out")
	case f == nil:
		return fmt.Errorf("unknown key%s (coordinator config example shows all)", didYouMean(strings.ReplaceAll(e.key, "_", "-"), keysOf(settings)))
	}
	values, list, err := e.read()
	if err != nil {
		return err
	}
	if _, takesList := f.Value.(pflag.SliceValue); list && !takesList {
		return errors.New("it takes one value, not a list")
	}
	if len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return isEmpty(f, v) }) {
		return errEmpty
	}
	kept, keptList := valueOf(f)
	if err := assign(f, values, list); err != nil {
		return fmt.Errorf("%q: %w", shownAs(f, strings.Join(values, ",")), badValue(f, err))
	}
	if f.Changed {
		return assign(f, kept, keptList)
	}
	origin{originFile, path + ":" + strconv.Itoa(e.line)}.note(f)
	return nil
}

// read returns the values as they are written, so that YAML's meaning of a plane named "on"
// or 007 does not matter.
func (e settingLine) read() (values []string, list bool, err error) {
	items := []*yaml.Node{e.value}
	switch e.value.Kind {
	case yaml.MappingNode:
		return nil, false, errors.New("it takes a value, not a group of keys: settings are not nested")
	case yaml.SequenceNode:
		items, list = e.value.Content, true
	}
	for _, item := range items {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		switch {
		case item.Kind != yaml.ScalarNode:
			return nil, false, errors.New("it takes a list of texts, and this one contains lists or groups of keys")
		case item.Tag == "!!null":
			return nil, false, errors.New("there is no value: take the line out, or give it one")
		}
		values = append(values, item.Value)
	}
	return values, list, nil
}

// keysOf lists the keys that a settings file may contain.
func keysOf(settings *pflag.FlagSet) (keys []string) {
	settings.VisitAll(func(f *pflag.Flag) {
		if f.Name != flagOnly && f.Name != fileFlag {
			keys = append(keys, f.Name)
		}
	})
	return keys
}
