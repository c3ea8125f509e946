package main

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"org/model-7B":           "org/model-7B",
		"größe 模型":               "größe 模型",
		"a\x1b[2Jb\r\nc\x7f":     "a?[2Jb??c?",
		"\u009b31m":              "?31m",
		"\x9b31m":                "\ufffd31m",
		"\u202egpj.exe\u200b":    "?gpj.exe?",
		strings.Repeat("x", 201): strings.Repeat("x", 200) + "…",
	} {
		qt.Check(t, qt.Equals(printable(in), want))
	}
	long := strings.Repeat("line\n", 100)
	qt.Check(t, qt.Equals(printableLines(long+"\x1b[H"), long+"?[H"))
}
