package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file keeps what others have written from doing something to a person's terminal,
// or from looking like something else: the records of nodes, mementos, and whatever
// answers in a node's place can hold any text.

// printable is a text without what acts on a terminal: control characters, those that
// change the direction of writing, and what is not UTF-8 are written out as in Go. Lines
// and tabs stay.
func printable(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1, unprintable(r) && r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		text = text[size:]
	}
	return b.String()
}

// unprintable reports whether a character is not to reach a terminal. What is not UTF-8
// comes as [utf8.RuneError].
func unprintable(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.IsControl(r), r == utf8.RuneError, unicode.Is(unicode.Bidi_Control, r):
		return true
	default:
		return r == '\u2028' || r == '\u2029' // ends of lines, to some
	}
}

// cell is a text as it can stand in a table, on one line.
func cell(text string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(printable(text))
}

// forPeople is a writer for what people read. Each write holds whole characters.
type forPeople struct{ to io.Writer }

// Write implements [io.Writer].
func (w forPeople) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.to, printable(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// escaped is JSON in which what acts on a terminal is written as JSON writes it: it can
// only stand within texts.
func escaped(body []byte) []byte {
	var b []byte
	for _, r := range string(body) {
		if unprintable(r) && r != '\r' {
			b = fmt.Appendf(b, `\u%04x`, r)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
