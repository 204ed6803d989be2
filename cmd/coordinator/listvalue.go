// A flag value that is a list of texts.

package main

import (
	"fmt"
	"strings"
)

// listValue is the value of a flag that takes several texts, separated by commas. It is
// parsed as strictly as a list in a file: nothing is trimmed and no quotes are removed.
type listValue struct {
	to    *[]string
	given bool
}

func listOf(to *[]string) *listValue { return &listValue{to: to} }

// String implements [pflag.Value].
func (l *listValue) String() string { return "[" + strings.Join(*l.to, ",") + "]" }

// Type implements [pflag.Value].
func (l *listValue) Type() string { return "stringSlice" }

// Set implements [pflag.Value]. A second call adds to the list.
func (l *listValue) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errEmpty
	}
	var before []string
	if l.given {
		before = *l.to
	}
	return l.Replace(append(before, strings.Split(text, ",")...))
}

// Append implements [pflag.SliceValue].
func (l *listValue) Append(text string) error { return l.Replace(append(*l.to, text)) }

// Replace implements [pflag.SliceValue].
func (l *listValue) Replace(texts []string) error {
	for _, t := range texts {
		if t == "" || strings.ContainsAny(t, " \t\r\n\"',") {
			return fmt.Errorf("%q: write a list as a,b without spaces and quotes", t)
		}
	}
	*l.to, l.given = texts, true
	return nil
}

// GetSlice implements [pflag.SliceValue].
func (l *listValue) GetSlice() []string { return *l.to }
