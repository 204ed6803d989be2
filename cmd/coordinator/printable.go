// Keeps text from others from acting on a terminal or looking like something else. Records
// of nodes, mementos, and a server that poses as a node can contain any text.

package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable escapes what acts on a terminal: control characters, characters that change the
// direction of writing, and bytes that are not UTF-8. Line ends and tabs stay.
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

// unprintable reports whether a character must not reach a terminal. Invalid UTF-8 comes as
// [utf8.RuneError].
func unprintable(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.IsControl(r), r == utf8.RuneError, unicode.Is(unicode.Bidi_Control, r):
		return true
	default:
		return r == '\u2028' || r == '\u2029' // some treat them as line ends
	}
}

// cell is a text for a table cell, on one line.
func cell(text string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(printable(text))
}

// terminalWriter escapes text for a terminal. Each write must hold whole characters.
type terminalWriter struct{ to io.Writer }

// Write implements [io.Writer].
func (w terminalWriter) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.to, printable(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// escaped is JSON in which characters that act on a terminal are escaped. They can occur
// only within JSON strings.
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
