package main

import (
	"strings"
	"unicode"
)

// printable keeps what other processes say from moving the cursor, from turning
// the direction of writing, and short.
func printable(s string) string {
	s = strings.Map(visible, s)
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}

// printableLines does so with a text of several lines, of any length.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return visible(r)
	}, s)
}

func visible(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}
